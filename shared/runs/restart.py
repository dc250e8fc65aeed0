"""torchrun --max-restarts: processes that are started again resume the run of those before.

They are started with the same command, and the name of a run folder has the time in it. So rank 0 notes
its run folder in outputs/APP, under torchrun's run id: `--rdzv-id`, or a random one on a single machine. If
there is none, the note has the process number of torchrun.
"""

import os
from pathlib import Path
from urllib.parse import quote

from shared.config import AppConfig
from shared.files import write_atomically
from shared.runs.resume import RUNS

UNNAMED = "none"  # the run id of a static rendezvous without `--rdzv-id`


def resumed_config(config: AppConfig) -> AppConfig:
    """Return the configuration, with `trainer.resume` set if torchrun has started these processes again."""
    note = note_file(config)
    if note is None or config.trainer.resume is not None:
        return config
    # A machine that joins an elastic rendezvous restarts the processes, too, and is not counted.
    if run_id() == UNNAMED and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        note.unlink(missing_ok=True)  # of an earlier process with this number
        return config
    if not note.exists() or not Path(folder := note.read_text()).is_dir():  # they had none yet, or it is gone
        return config
    if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        print(f"--rdzv-id={run_id()} is the training in {folder}; another one needs another id", flush=True)
    trainer = config.trainer.model_copy(update={"resume": folder})
    return config.model_copy(update={"trainer": trainer})


def note_run(config: AppConfig, folder: Path) -> None:
    """Note the run folder if torchrun may start these processes again.

    The note stays: a run that has ended must not be trained again if a process fails after it.
    """
    if (note := note_file(config)) is not None:
        note.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(note, str(folder.absolute()).encode())


def note_file(config: AppConfig) -> Path | None:
    """Return the file for the note; None if torchrun does not start these processes again."""
    if os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") == "0":
        return None
    name = f"pid_{os.getppid()}" if run_id() == UNNAMED else f"id_{quote(run_id(), safe='')}"
    return RUNS / config.app / f".torchrun_{name}"


def run_id() -> str:
    """Return torchrun's `--rdzv-id`."""
    return os.environ.get("TORCHELASTIC_RUN_ID", UNNAMED)
