"""torchrun --max-restarts: processes that are started again resume the run of those before.

They are started with the same command, and the name of a run folder has the time in it. So rank 0 notes
its run folder in outputs/APP. With elastic rendezvous the next rank 0 may be on another machine: it finds
the note if the machines share that folder.
"""

import os
from pathlib import Path

from shared.config import AnyAppConfig
from shared.errors import ConfigError
from shared.files import write_atomically
from shared.runs import resume


def resumed_config(config: AnyAppConfig) -> AnyAppConfig:
    """Return the configuration with `trainer.resume` set, if torchrun has started these processes again.

    Raises:
        ConfigError: the run before has ended, and cannot be resumed.
    """
    note = note_file(config)
    if config.trainer.resume is not None or note is None or not note.exists():
        return config
    restarted = os.environ["TORCHELASTIC_RESTART_COUNT"] != "0"
    if not restarted and note.name.startswith(".torchrun_pid_"):  # of an earlier process with this number
        return config
    trainer = config.trainer.model_copy(update={"resume": note.read_text()})
    resumed = config.model_copy(update={"trainer": trainer})
    try:
        resume.find_run(resumed)
    except ConfigError:
        if restarted:
            raise
        return config  # another training with the same --rdzv-id
    return resumed


def note_run(config: AnyAppConfig, folder: Path) -> Path | None:
    """Note the run folder if torchrun may start these processes again; return the file of the note."""
    if (note := note_file(config)) is not None:
        note.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(note, str(folder.absolute()).encode())
    return note


def note_file(config: AnyAppConfig) -> Path | None:
    """Return the file for the note; None if torchrun does not start these processes again.

    A rendezvous with a name (`--rdzv-id`) identifies the processes of a training, else their parent does.
    """
    if os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") == "0":
        return None
    name = os.environ.get("TORCHELASTIC_RUN_ID", "none")
    name = f"pid_{os.getppid()}" if name == "none" else "".join(c if c.isalnum() else "-" for c in name)
    return resume.RUNS / config.app / f".torchrun_{name}"
