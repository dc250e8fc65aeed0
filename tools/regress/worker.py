"""The process that trains one case: reads a seed from a line, writes its result on a line.

    python -m tools.regress.worker CASE_JSON SOURCE RUNS_FOLDER

All seeds of a case run in one process, because importing a framework takes longer than many runs. Each
case has its own process, because two frameworks conflict in one, and a crash should affect nothing else.
What the application prints goes to standard error.

The first run is also scored again from its saved weights. If the scores differ, the test is random, for
example because dropout stays on, or the saved weights are not those that were tested.
"""

import importlib
import itertools
import json
import math
import os
import sys
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from shared.errors import ConfigError, DataError, SuiteError, TrainingDiverged
from tools.evaluate import evaluate_run
from tools.regress.cases import Case
from tools.runs import open_run

ROUNDING = 1e-5
STATUS = {ConfigError.status: "refused", DataError.status: "no data", TrainingDiverged.status: "diverged"}


def run(case: Case, source: str, seed: int, run_dir: Path, score_again: bool = False) -> dict[str, Any]:
    """Train once; return `seed`, `status`, and either `metrics` or `error`."""
    try:
        train = importlib.import_module(f"apps.{case.app}.train").train
        metrics = train(case.config(source, seed, run_dir))
        if score_again:
            difference = difference_of_scores(metrics, evaluate_run(open_run(str(run_dir))))
            if difference:
                return {"seed": seed, "status": "failed", "error": f"scored again, {difference}"}
        return {"seed": seed, "status": "done", "metrics": metrics}
    except SuiteError as error:
        return {"seed": seed, "status": STATUS.get(error.status, "failed"), "error": str(error)}
    except Exception as error:
        traceback.print_exc()
        return {"seed": seed, "status": "failed", "error": f"{type(error).__name__}: {error}"}


def difference_of_scores(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    """Return how two tests of the same weights differ by more than rounding; "" if they do not."""
    for key in ("test_loss", "test_accuracy"):
        if not math.isclose(first[key], second[key], rel_tol=ROUNDING, abs_tol=ROUNDING):
            return f"the saved weights have {key} {second[key]:.6g} instead of {first[key]:.6g}"
    return ""


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
    for number in itertools.count():
        seed = seeds.get()
        answer = run(case, source, seed, Path(runs) / f"seed_{seed}", score_again=number == 0)
        print(json.dumps(answer, default=float), file=answers, flush=True)


if __name__ == "__main__":
    main()
