"""The process that trains one case: reads a seed from a line, writes its result on a line.

    python -m tools.regress.worker CASE_JSON SOURCE RUNS_FOLDER

All seeds of a case run in one process, because importing a framework takes longer than many runs. Each
case has its own process, because two frameworks conflict in one, and a crash should affect nothing else.
What the application prints goes to standard error.
"""

import importlib
import json
import os
import sys
import threading
import traceback
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from shared.errors import ConfigError, DataError, SuiteError, TrainingDiverged
from tools.regress.cases import Case

STATUS = {ConfigError.status: "refused", DataError.status: "no data", TrainingDiverged.status: "diverged"}


def run(case: Case, source: str, seed: int, run_dir: Path) -> dict[str, Any]:
    """Train once; return `seed`, `status`, and either `metrics` or `error`."""
    try:
        train = importlib.import_module(f"apps.{case.app}.train").train
        return {"seed": seed, "status": "done", "metrics": train(case.config(source, seed, run_dir))}
    except SuiteError as error:
        return {"seed": seed, "status": STATUS.get(error.status, "failed"), "error": str(error)}
    except Exception as error:
        traceback.print_exc()
        return {"seed": seed, "status": "failed", "error": f"{type(error).__name__}: {error}"}


def listen(seeds: "SimpleQueue[int]") -> None:
    """Receive seeds, and exit when the pipe closes, even in the middle of a training.

    A parent that is killed cannot stop its workers, but its end of the pipe closes.
    """
    with open(0, "rb", buffering=0) as lines:  # unbuffered: the lock of a buffer would delay the exit
        for line in lines:
            seeds.put(int(line))
    os._exit(0)


def main() -> None:
    """Train with one seed after another until the pipe closes."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # nothing that is printed from here on can be mistaken for an answer
    content, source, runs = sys.argv[1:]
    case = Case.model_validate_json(content)
    seeds: SimpleQueue[int] = SimpleQueue()
    threading.Thread(target=listen, args=(seeds,), daemon=True).start()
    while True:
        seed = seeds.get()
        answer = run(case, source, seed, Path(runs) / f"seed_{seed}")
        print(json.dumps(answer, default=float), file=answers, flush=True)


if __name__ == "__main__":
    main()
