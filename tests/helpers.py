"""What several tests need: configurations, and applications run as a user runs them."""

import functools
import importlib
import itertools
import json
import os
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import t

from apps.mnist_cnn.config import Config
from shared.compose import config_from_overrides
from shared.data.examples import Examples
from shared.runs.progress import TrainingProgress
from shared.training import conv_pool

ROOT = Path(__file__).parents[1]
FALSE_ALARM = 0.001  # how often a training may be called worse although nothing got worse
TIMEOUT = 120  # seconds; far more than any of the commands needs

# What deck D prints at iterations 0, 1000, ..., 9000, and its four outputs to 8 digits
PUBLISHED_LOSSES = [
    *(0.38038349310856134, 0.24997670387612728, 0.24972913712906816, 0.24883556540840868, 0.2430179563469606),
    *(
        0.2023128270301176,
        0.1342851241018072,
        0.03423820536202099,
        0.012399204540152104,
        0.006836030803331477,
    ),
]
PUBLISHED_OUTPUTS = [0.07125372, 0.93446125, 0.93473281, 0.06774813]


def mnist_config(run_dir: Path, *overrides: str) -> Config:
    """Compose and validate a configuration of apps/mnist_cnn, on the embedded digits."""
    config: Config = app_config("mnist_cnn", run_dir, "data=digits", *overrides)
    return config


def app_config(app: str, run_dir: Path, *overrides: str) -> Any:
    """Compose and validate a configuration of any application."""
    schema = importlib.import_module(f"apps.{app}.config").Config
    return config_from_overrides(app, schema, [f"run_dir={run_dir}", *overrides])


def trained(app: str, folder: Path, *overrides: str) -> Path:
    """Train an application in this process; return the run folder."""
    config = app_config(app, folder, *overrides)
    importlib.import_module(f"apps.{app}.train").train(config)
    return folder


def run_mnist(
    *arguments: str, environment: Mapping[str, str] | None = None, preexec: Callable[[], None] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `python -m apps.mnist_cnn` and wait for it."""
    return subprocess.run(
        [sys.executable, "-m", "apps.mnist_cnn", *arguments],
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        preexec_fn=preexec,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )


@functools.cache
def no_c_compiler() -> str | None:
    """Return why no C at all can be compiled here as the kernel is; None where it can.

    Where it can, a mistake in the code there is no reason to leave out a test.
    """
    command = shlex.split(os.environ.get("CC") or "cc")
    with tempfile.TemporaryDirectory() as folder:
        command += [*conv_pool.FLAGS, "-o", f"{folder}/one.so", "-x", "c", "-"]
        try:
            done = subprocess.run(command, input="int one;", capture_output=True, text=True)
        except OSError as error:
            return f"there is no C compiler: {error}"
    return None if done.returncode == 0 else f"no C can be compiled: {done.stderr.strip()}"


def at_step(monkeypatch: pytest.MonkeyPatch, number: int, action: Callable[[], object]) -> None:
    """Call `action` in the middle of the step with this number, counted from now."""
    counter, show = itertools.count(1), TrainingProgress.step

    def step(*arguments: Any) -> None:
        show(*arguments)
        if next(counter) == number:
            action()

    monkeypatch.setattr(TrainingProgress, "step", step)


def ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


def crash() -> None:
    raise ZeroDivisionError("a defect")


def take_steps(
    learner: Any, examples: Examples, steps: Sequence[tuple[Any, float]]
) -> Iterator[tuple[float, int]]:
    """Take a step for each (batch, learning rate); yield its mean loss and count of correct ones."""
    batches = learner.start_epoch([batch for batch, _ in steps])
    for batch, (_, lr) in zip(batches, steps, strict=True):
        loss, correct = learner.step(examples, batch, lr)
        yield float(loss), int(correct)


def lowest_expected(app: str, framework: str, model: str, dataset: str) -> float:
    """Return the test accuracy that one more run like the recorded ones has at the least.

    It lies below that only once in 1 / FALSE_ALARM times (Student's t for one new observation).
    """
    runs = json.loads((ROOT / "docs" / "results" / f"{app}.json").read_text())
    recorded = [
        run["test_accuracy"]
        for run in runs
        if (run["framework"], run["model"], run["dataset"]) == (framework, model, dataset)
    ]
    n = len(recorded)
    assert n >= 3, f"{n} recorded runs of {model} in {framework}"
    far = float(t.ppf(1 - FALSE_ALARM, n - 1)) * (1 + 1 / n) ** 0.5
    return statistics.mean(recorded) - far * statistics.stdev(recorded)
