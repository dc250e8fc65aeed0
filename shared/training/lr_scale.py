"""Factors of the learning rate by parameter group: {"": 0.1, "fc": 1.0} trains `fc` at the full
rate and everything else at a tenth of it; 0 freezes a group.

A group is named by the prefix of its parameters' names; the longest prefix that fits counts.
"""

from collections.abc import Mapping

LrScales = Mapping[str, float]

ALL: LrScales = {"": 1.0}


def parameter_group(name: str, lr_scales: LrScales) -> str:
    """Return the group that the layer or parameter of this name belongs to.

    Raises:
        ValueError: it belongs to none.
    """
    groups = [group for group in lr_scales if group in ("", name) or name.startswith(f"{group}.")]
    if not groups:
        raise ValueError(f"no learning rate for {name}: {', '.join(lr_scales)}")
    return max(groups, key=len)


def lr_scale(name: str, lr_scales: LrScales) -> float:
    """Return the factor of the learning rate of the layer or parameter of this name."""
    return lr_scales[parameter_group(name, lr_scales)]
