"""The errors that a user can cause or must know of, each with its exit status.

The message is one to three lines that say what is wrong and what to do; `shared/cli.py` prints
it without a traceback. Any other exception is a defect of ours and keeps its traceback (status 1).
"""

from pathlib import Path


class SuiteError(Exception):
    """An error with a message for the user; `status` is the exit status of the program."""

    status = 1


class ConfigError(SuiteError):
    """The command or the configuration is wrong, or the run folder cannot be used."""

    status = 2


class DataError(SuiteError):
    """A data set is missing or damaged."""

    status = 3


class TrainingDiverged(SuiteError):
    """The loss is no longer a finite number."""

    status = 4


class LostProcess(SuiteError):
    """One of several processes that train together has ended, and so must the others.

    Attributes:
        noticed: whether torchrun has already asked this process to end.
    """

    noticed = False


class Interrupted(KeyboardInterrupt):
    """Ctrl-C in a training, of which there is a checkpoint to go on from.

    Attributes:
        folder: what `trainer.resume` must name to go on; the folder of the whole run sets it.
    """

    folder: Path | None = None


# Ctrl-C: 128 + SIGINT, as a shell reports it.
INTERRUPTED_STATUS = 130
