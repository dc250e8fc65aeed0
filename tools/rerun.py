"""Repeat a finished run in a new folder and compare the results.

    python -m tools.rerun RUN [--out FOLDER]

Trains the configuration in RUN/config.yaml again, in a process of its own, in FOLDER or in a new
folder of outputs/APP. Differences in commit, versions, hardware or data are printed first, as warnings.

exit status: 0 the same to the last bit, 5 different, 2 a run that cannot be repeated, 3 data missing
or damaged, 4 training diverged, 130 interrupted
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from shared.distributed import available_cores
from shared.errors import ConfigError
from shared.nested import flat
from shared.runs.environment import environment
from shared.runs.reader import read_metrics
from shared.runs.repeat import hydra_text, rerun_overrides
from tools import cli
from tools.runs import RUN_HELP, open_run, score_differences


def main(words: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    parser = cli.parser("rerun", __doc__)
    parser.add_argument("run", metavar="RUN", help=RUN_HELP)
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="the new run folder")
    arguments = parser.parse_args(words)
    return cli.run(lambda: rerun(arguments.run, arguments.out))


def rerun(run_name: str, out: Path | None) -> int:
    """Repeat a run; return the exit status.

    Raises:
        ConfigError: it is not a finished run of this version, or `out` cannot be used.
        DataError: its data is missing or damaged.
    """
    if out is not None and "${" in str(out):  # Hydra would resolve it
        raise ConfigError(f"--out {out}: a run folder cannot have ${{ in its path; choose another")
    run = open_run(run_name)
    app = run.application.name
    words = rerun_overrides(run.config.model_dump())
    data, threads = run.application.load_data(run.config), run.config.trainer.threads or available_cores()
    now = environment(run.config.framework, threads) | {"dataset": data.name, "dataset_sha256": data.sha256}
    for line in differences(run.metrics, now):
        print(f"warning: {line}", file=sys.stderr, flush=True)
    folder = out or Path("outputs", app, f"{datetime.now():%Y-%m-%d_%H-%M-%S}_rerun_{os.getpid()}")
    words.append(f"hydra.run.dir={hydra_text(str(folder))}")
    if status := exit_status_of([sys.executable, "-m", f"apps.{app}", *words]):
        return status
    difference = score_differences(run.metrics, read_metrics(folder))
    print(difference or "the same to the last bit")
    return cli.FAILED_CHECK if difference else 0


def exit_status_of(command: Sequence[str]) -> int:
    """Run a command to its end. Ctrl-C reaches it, too; then it writes a checkpoint and ends by itself."""
    with subprocess.Popen(command) as process:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                continue


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return a line for each thing that a result depends on and that has changed."""
    old, new = flat({key: before.get(key) for key in now}), flat(now)
    lines = [f"{key} was {old.get(key)}, is {value}" for key, value in new.items() if old.get(key) != value]
    if new["git.dirty"] and old.get("git.dirty"):
        lines.append("both runs have uncommitted changes: the commit does not identify the code")
    return lines


if __name__ == "__main__":
    sys.exit(main())
