"""The names of everything that is checked, without importing a framework."""

from shared import backprop

BASES = {"Array", "Module", "NaNError", "Optimizer"}


def _order(name: str) -> tuple[bool, bool, str]:
    """Sort layers and losses first, then optimizers, then clipping."""
    known = getattr(backprop, name)
    is_optimizer = isinstance(known, type) and issubclass(known, backprop.Optimizer)
    return name.startswith("clip_"), is_optimizer, name.lower()


NAMES = tuple(sorted(set(backprop.__all__) - BASES, key=_order))
