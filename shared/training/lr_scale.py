"""Learning rates of parts of a network: factors by the name of the part, 0 for a frozen one.

`{"": 0.1, "fc": 1.0}`: everything learns with a tenth of the rate, `fc` with all of it. Of several
parts that a name lies in, the longest counts.
"""

from collections.abc import Mapping

LrScales = Mapping[str, float]

ALL: LrScales = {"": 1.0}


def part(name: str, rates: LrScales) -> str:
    """Return the key of `rates` that the layer or parameter of this name belongs to.

    Raises:
        ValueError: it belongs to none.
    """
    found = [key for key in rates if key in ("", name) or name.startswith(f"{key}.")]
    if not found:
        raise ValueError(f"no learning rate for {name}: {', '.join(rates)}")
    return max(found, key=len)


def factor(name: str, rates: LrScales) -> float:
    """Return by what the learning rate of the layer or parameter of this name is multiplied."""
    return rates[part(name, rates)]
