"""Which of several processes that train together this is: what torchrun says, or the only one."""

import os


def world_size() -> int:
    """Return how many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Return which of them this is, counted from 0: the first writes the run folder and speaks."""
    return int(os.environ.get("RANK", "0"))


def local_world_size() -> int:
    """Return how many of them run on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def local_rank() -> int:
    """Return which of those on this machine this is, counted from 0."""
    return int(os.environ.get("LOCAL_RANK", "0"))
