"""Check a layer that you wrote: which gradient is wrong, and which known mistake it looks like."""

from tools.check.compare import Result, check

__all__ = ["Result", "check"]
