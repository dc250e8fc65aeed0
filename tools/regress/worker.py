"""The process that trains one case: a seed comes in on a line, its result goes out on a line.

    python -m tools.regress.worker CASES_FOLDER CASE SOURCE RUNS_FOLDER

All seeds of a case run in one process, because importing a framework takes longer than many a run;
each case has a process of its own, because two frameworks do not get on in one and a crash should
take nothing else with it. What the application prints goes to standard error.
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
from tools.regress.cases import Case, load

STATUS = {ConfigError.status: "refused", DataError.status: "no data", TrainingDiverged.status: "diverged"}


def run(case: Case, source: str, seed: int, run_dir: Path) -> dict[str, Any]:
    """Train once; return `seed`, `status`, and the metrics or what was said instead."""
    try:
        train = importlib.import_module(f"apps.{case.app}.train").train
        metrics = train(case.config(source, seed, run_dir))
    except SuiteError as error:
        status = STATUS.get(error.status, "failed")
        return {"seed": seed, "status": status, "error": str(error)}
    except Exception as error:
        traceback.print_exc()
        return {"seed": seed, "status": "failed", "error": f"{type(error).__name__}: {error}"}
    return {"seed": seed, "status": "done", "metrics": metrics}


def listen(seeds: "SimpleQueue[int]") -> None:
    """Take seeds; end the process when whoever sends them is gone, in the middle of a training too.

    A program that is killed cannot end its workers. Its end of the pipe closes all the same.
    """
    with open(0, "rb", buffering=0) as lines:  # a buffer's lock would be in the way of an end
        for line in lines:
            seeds.put(int(line))
    os._exit(0)


def main() -> None:
    """Answer one line after the other until there are no more."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever is printed from here on cannot be taken for an answer
    folder, name, source, runs = sys.argv[1:]
    case = load(name, Path(folder))
    seeds: SimpleQueue[int] = SimpleQueue()
    threading.Thread(target=listen, args=(seeds,), daemon=True).start()
    while True:
        seed = seeds.get()
        answer = run(case, source, seed, Path(runs) / f"seed_{seed}")
        print(json.dumps(answer, default=float), file=answers, flush=True)


if __name__ == "__main__":
    main()
