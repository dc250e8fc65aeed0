"""Errors that are reported to the user, each with its exit status.

The message says in one or two lines what is wrong and what to do; `shared/cli.py` prints it without a
traceback. Any other exception is a bug and keeps its traceback (status 1).
"""

from pathlib import Path


class SuiteError(Exception):
    """An error with a message for the user; `status` is the exit status of the program."""

    status = 1


class ConfigError(SuiteError):
    """The command or the configuration is wrong, or the run folder cannot be used."""

    status = 2


INCOMPLETE = "not a complete configuration: call `compose` and `train` of apps.api"  # from Python


class DataError(SuiteError):
    """A data set is missing or damaged."""

    status = 3


class TrainingDiverged(SuiteError):
    """The loss is no longer a finite number."""

    status = 4


class LostProcess(SuiteError):
    """Another process of this training has ended."""

    noticed = False  # whether torchrun has already told this process to end


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a run that can be resumed."""

    folder: Path | None = None  # the run folder, for `trainer.resume`


# Ctrl-C: 128 + SIGINT, as a shell reports it.
INTERRUPTED_STATUS = 130
