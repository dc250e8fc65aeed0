"""Measure every application on a GPU beside the CPU, and check that both compute the same.

    python -m tools.bench.torch_gpu [KEY=VALUE ...]

KEY=VALUE:
    device=NAME         cuda, or cpu: the CPU beside itself; default: cuda if there is one, else cpu
    minutes=N           for everything; fewer steps are timed, and seeds left out, to keep to it; default: 10
    seeds=N             trainings of MNIST's `fast_cnn`, whose mean must reach 99.0 %; default: 20
    quick=true          a few steps and one seed on little data, to try the program: do not record these
    out=FILE            where the results are written; default: docs/results/gpu.json

Each network first takes a few steps on both devices: without dropout, whose masks differ, and without TF32.
The losses must agree, and after the first step nothing may be copied between the memories of CPU and GPU,
nor wait for the GPU. Then it is timed with its own settings. The file is written after each network and
each seed, and `<!-- benchmark: gpu -->` in a document becomes its table (tools/results).

exit status: 0 measured, 2 wrong command, 5 a check failed, 130 interrupted
"""

import contextlib
import importlib
import io
import os
import re
import statistics
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from shared.compose import config_from_overrides
from shared.distributed import available_cores
from shared.errors import ConfigError
from shared.output_file import write_json
from shared.runs.environment import ROOT, environment
from shared.training.torch_learner import TorchLearner
from tools import cli
from tools.bench.mnist import ENOUGH
from tools.bench.results import processor, results_file
from tools.bench.rows import three_digits

KEYS = ("device", "minutes", "seeds", "quick", "out")
RESULTS = ROOT / "docs" / "results" / "gpu.json"
DRIVER = Path("/proc/driver/nvidia/version")
COPY = re.compile(r"Memcpy (HtoD|DtoH)")  # the profiler's names of copies between the memories
WAIT = "called a synchronizing CUDA operation"  # torch.cuda.set_sync_debug_mode
SCRATCH = "weights=none transfer.mode=scratch"
# Overrides of each network, precision of the comparison, and overrides only for that. In float32, the
# rounding of a network with batch normalization grows to a tenth of the loss within ten steps.
# Left out: gradient_flow, whose weights and optimizer are NumPy's in every framework; accurate_cnn, which
# has the layers of fast_cnn; and rnn_cell, which is rnn.
NETWORKS = {
    "xor": ("", "float32", ""),
    "mnist_cnn mlp": ("model=mlp", "float32", ""),
    "mnist_cnn cnn": ("model=cnn", "float32", "model.dropout=[0.0,0.0]"),
    "mnist_cnn fast_cnn": ("model=fast_cnn", "float64", ""),
    "imdb_rnn lstm": ("model=lstm", "float32", "model.dropout=0.0"),
    "imdb_rnn bilstm": ("model=bilstm", "float32", "model.dropout=0.0 model.embedding_dropout=0.0"),
    "imdb_rnn rnn": ("model=rnn", "float32", "model.dropout=0.0"),
    "imdb_rnn nbsvm": ("model=nbsvm", "float32", ""),
    "imdb_rnn bow": ("model=bow", "float32", "model.dropout=0.0"),
    "attention recall": ("data=recall", "float32", ""),
    "attention imdb": ("data=imdb", "float32", "model.dropout=0.0"),
    "resnet_transfer resnet18": (f"model=resnet18 {SCRATCH}", "float64", ""),
    "resnet_transfer mobilenet_v2": (f"model=mobilenet_v2 {SCRATCH}", "float64", ""),
}
TOLERANCE = {"float32": 1e-3, "float64": 1e-6}  # of the loss of each step, relative
# Steps to compare, all in an epoch; steps to time, at most; and how many of these are not timed.
STEPS, TIMED, WARMUP = 4, 100, 2
SHARES = 4  # of the time are kept for the seeds of MNIST; each network has one


class Enough(Exception):
    """All steps of a `Watch` are done."""


class Watch:
    """Watches the first steps of a training on a device, then ends it.

    Args:
        device: cpu or cuda.
        steps: how many.
        profile: whether to look for transfers, which makes the steps slower.

    Attributes:
        losses: the loss of each step.
        transfers: copies between the memories and waits for the GPU, after the first step.
        seconds: the mean time of a step after the first `WARMUP`; meaningless with `profile`.
    """

    def __init__(self, device: str, steps: int, profile: bool = False) -> None:
        self.device, self.steps, self.profile = device, steps, profile
        self.losses: list[float] = []
        self.transfers: list[str] = []
        self.seconds = 0.0

    def train(self, app: str, *words: str) -> None:
        """Train an application until the steps are done."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(mock.patch.object(TorchLearner, "step", self.wrap(TorchLearner.step, stack)))
            with contextlib.suppress(Enough):
                train(app, self.device, "trainer.checkpoint_seconds=null", *words)
                raise AssertionError(f"{app} has fewer than {self.steps} steps")

    def wrap(self, step: Callable[..., Any], stack: contextlib.ExitStack) -> Callable[..., Any]:
        """Return a method for TorchLearner that does what `step` does; `stack` is closed after the last."""
        losses: list[torch.Tensor] = []
        begin = 0.0

        def watched(*arguments: Any) -> Any:
            nonlocal begin
            if len(losses) == 1 and self.profile:
                stack.enter_context(self.profiled())
            elif len(losses) == WARMUP and not self.profile:
                begin = self.now()
            losses.append((scores := step(*arguments))[0])
            if len(losses) < self.steps:
                return scores
            stack.close()
            self.seconds = (self.now() - begin) / (self.steps - WARMUP)
            self.losses = [float(loss) for loss in losses]
            raise Enough

        return watched

    def now(self) -> float:
        """Return the time after all that the GPU has been asked for."""
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    @contextlib.contextmanager
    def profiled(self) -> Iterator[None]:
        """Add what happens in this block to `transfers`."""
        on_gpu, activity = self.device == "cuda", torch.profiler.ProfilerActivity
        kinds = [activity.CUDA if on_gpu else activity.CPU]
        with (
            warnings.catch_warnings(record=True) as caught,
            torch.profiler.profile(activities=kinds) as profile,
        ):
            warnings.simplefilter("always")
            if on_gpu:
                torch.cuda.set_sync_debug_mode("warn")
            yield
            if on_gpu:
                torch.cuda.set_sync_debug_mode("default")
        self.transfers += [event.name for event in profile.events() if COPY.match(event.name)]
        self.transfers += [WAIT for warning in caught if WAIT in str(warning.message)]


def train(app: str, device: str, *words: str) -> dict[str, Any]:
    """Train on a device; return the metrics."""
    schema = importlib.import_module(f"apps.{app}.config").Config
    application = importlib.import_module(f"apps.{app}.train")
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        own = [*words, "framework=torch", f"trainer.device={device}", f"run_dir={folder}"]
        metrics: dict[str, Any] = application.train(config_from_overrides(app, schema, own))
    return metrics


def measure(name: str, device: str, seconds: float, quick: bool) -> dict[str, Any]:
    """Compare and time a network on both devices, in about the given time."""
    overrides, precision, same = NETWORKS[name]
    app, words, tolerance = name.split()[0], overrides.split(), TOLERANCE[precision]
    words += ["debug=smoke"] * quick
    cpu, other = Watch("cpu", STEPS), Watch(device, STEPS, profile=True)
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, allow_tf32=False):
        for watch in (cpu, other):
            watch.train(app, *words, *same.split(), f"trainer.precision={precision}")
    pairs = zip(cpu.losses, other.losses, strict=True)
    difference = max(abs(theirs - ours) / abs(ours) for ours, theirs in pairs)
    steps = STEPS if quick else min(TIMED, max(STEPS, int(seconds / 4 / cpu.seconds)))
    timed = [Watch("cpu", steps), Watch(device, steps)]
    for watch in timed:
        watch.train(app, *words)
    return {
        **{"precision": precision, "largest_difference": difference, "tolerance": tolerance},
        **{"transfers": other.transfers, "timed_steps": steps - WARMUP},
        **{"cpu_seconds": timed[0].seconds, "device_seconds": timed[1].seconds},
        "passed": difference <= tolerance and not other.transfers,
    }


def table_row(name: str, found: dict[str, Any], device: str) -> dict[str, str]:
    """Return the row of a network in the table."""
    cpu, other = found["cpu_seconds"], found["device_seconds"]
    return {
        "network": name,
        "a step on the CPU": f"{three_digits(1e3 * cpu)} ms",
        f"on {device}": f"{three_digits(1e3 * other)} ms",
        "speedup": f"{cpu / other:.3g} x",
        "losses differ by": f"{found['largest_difference']:.0e} ({found['precision']})",
        "transfers in the steps": str(len(found["transfers"])),
    }


class Record:
    """The results so far, and the time that is left.

    Args:
        file: where `write` writes them.
        device: cpu or cuda.
        minutes: from now on.
        quick: whether to try the program only.
    """

    def __init__(self, file: Path, device: str, minutes: int, quick: bool) -> None:
        self.file, self.device, self.quick = file, device, quick
        self.end = time.monotonic() + 60 * minutes
        self.name = torch.cuda.get_device_name() if device == "cuda" else "the same CPU"
        self.rows: list[dict[str, str]] = []
        self.networks: dict[str, Any] = {}
        self.mnist: dict[str, Any] = {}
        self.left_out: list[str] = []
        self.failed: list[str] = []
        self.facts = environment("torch", available_cores()) | {"quick": quick, "device": self.name}
        self.facts["driver"] = DRIVER.read_text().splitlines()[0] if DRIVER.exists() else None
        self.facts["versions"] |= {"cuda": torch.version.cuda} if device == "cuda" else {}

    def write(self) -> None:
        """Write the file."""
        names = ("networks", "mnist", "left_out", "failed")
        content = {"rows": [], "details": self.rows, **self.facts, **{k: getattr(self, k) for k in names}}
        write_json(self.file, {"gpu": {processor(): content}})

    def leave_out(self, what: str) -> None:
        """Say and note that the time was too short for something."""
        print(f"left out, because the time is used up: {what}", flush=True)
        self.left_out.append(what)

    def measure_networks(self) -> None:
        """Measure each network; an error in one does not stop the others."""
        for number, name in enumerate(NETWORKS):
            seconds = (self.end - time.monotonic()) / (len(NETWORKS) - number + SHARES)
            if seconds <= 0:
                self.leave_out(name)
                continue
            try:
                found = self.networks[name] = measure(name, self.device, seconds, self.quick)
            except Exception as error:
                traceback.print_exc()
                self.failed.append(f"{name}: {error}")
            else:
                self.rows.append(table_row(name, found, self.name))
                self.failed += [] if found["passed"] else [name]
                print(", ".join(f"{key} {value}" for key, value in self.rows[-1].items()), flush=True)
            self.write()

    def measure_seeds(self, seeds: int) -> None:
        """Train MNIST's `fast_cnn` with each seed; the mean accuracy must be high enough."""
        seconds: list[float] = []
        accuracies: list[float] = []
        slowest = 0.0
        for seed in range(seeds):
            begin = time.monotonic()
            if begin + slowest > self.end:
                self.leave_out(f"{seeds - seed} of {seeds} seeds of MNIST")
                break
            words = ["model=fast_cnn", f"seed={seed}", *["debug=smoke"] * self.quick]
            run = train("mnist_cnn", self.device, *words)
            slowest = max(slowest, time.monotonic() - begin)
            accuracies.append(run["test_accuracy"])
            seconds.append(run["train_seconds"])
            self.mnist = {"dataset": run["dataset"], "seconds": seconds, "accuracies": accuracies}
            print(f"{run['dataset']}, seed {seed}: {accuracies[-1]:.2%} in {seconds[-1]:.2f} s", flush=True)
            self.write()
        if accuracies and not self.quick and (mean := statistics.mean(accuracies)) < ENOUGH / 10_000:
            self.failed.append(f"MNIST: {mean:.2%} over {len(accuracies)} seeds is less than 99.0 %")


def bench(keys: dict[str, str]) -> int:
    """Measure everything; return the exit status.

    Raises:
        ConfigError: a key is wrong.
    """
    device = keys.get("device", "cuda" if torch.cuda.is_available() else "cpu")
    cli.check_choice("device", device, ("cuda", "cpu"))
    cli.check_choice("value of quick", keys.get("quick", "true"), ("true", "false"))
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # no messages of torch's profiler
    quick = keys.get("quick") == "true"
    seeds = cli.parse_count(keys, "seeds", 1 if quick else 20)
    minutes = cli.parse_count(keys, "minutes", 10)
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device=cuda: PyTorch finds no GPU; device=cpu compares the CPU with itself")
    record = Record(results_file(keys, RESULTS, ("gpu",)), device, minutes, quick)
    print(
        f"GPU: {record.name}" if device == "cuda" else "no GPU: the CPU is compared with itself", flush=True
    )
    record.measure_networks()
    record.measure_seeds(seeds)
    record.write()
    for failure in record.failed:
        print(f"failed: {failure}", file=sys.stderr)
    return cli.FAILED_CHECK if record.failed else 0


def main(words: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = cli.parser("bench.torch_gpu", __doc__)
    parser.add_argument("words", nargs="*", metavar="KEY=VALUE")
    arguments = parser.parse_args(words)
    return cli.run(lambda: bench(cli.parse_keys(arguments.words, KEYS)))


if __name__ == "__main__":
    sys.exit(main())
