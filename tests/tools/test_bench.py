import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from shared.errors import ConfigError
from shared.training.torch_learner import TorchLearner
from tests.helpers import ROOT
from tools.bench import __main__ as bench
from tools.bench import mnist, results, rows, torch_gpu
from tools.bench.__main__ import main
from tools.bench.goals import GOALS, Goal, speedup
from tools.bench.process import BenchmarkError, peak_memory, timed_lines
from tools.bench.rows import Measured, Options, Row, comparison_row, single_row, time_in_turns
from tools.bench.torch_gpu import STEPS
from tools.results.__main__ import fill_tables

FAST_EXAMPLE = """\
import sys, time
assert open("../data/MNIST/raw/train-images-idx3-ubyte").read() == "images"
for epoch, right in enumerate((9700, 9899, 9900, 9950), start=1):
    print(f"Train Epoch: {epoch} [0/60000 (0%)]\\tLoss: 0.3")
    time.sleep(0.2)
    print(f"\\nTest set: Average loss: 0.0, Accuracy: {right}/10000 (99%)\\n")
"""


RECORD = ROOT / "docs" / "results" / "bench.json"


@pytest.mark.parametrize(
    ("ours", "theirs", "goal", "met", "text"),
    [
        ([1.0, 2.0, 9.0], [8.0, 8.0], speedup(4), True, "4 times faster"),
        ([2.0], [7.9], speedup(4), False, "4 times faster"),
        ([2.0], [1.0], speedup(1 / 2), True, "at most 2 times slower"),
        ([2.1], [1.0], speedup(1 / 2), False, "at most 2 times slower"),
        ([1.5], [1.0], speedup(1 / 1.5), True, "at most 1.5 times slower"),
        ([1.06], [1.0], speedup(0.95), False, "at most 1.05 times slower"),
        ([9.0], [1.0], None, True, ""),
    ],
)
def test_medians_decide_whether_a_goal_is_met(
    ours: list[float],
    theirs: list[float],
    goal: Goal | None,
    met: bool,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rows, "GOALS", {"what": goal} if goal else {})
    row = comparison_row("what", ours, "whom", theirs)
    assert (row.met, row.goal, row.runs) == (met, text, len(ours))
    assert row.cells()["met"] == ("" if goal is None else "yes" if met else "no")


def test_a_row_without_a_comparison_has_no_speedup() -> None:
    row = single_row("peak memory, mnist_cnn framework=torch", [1600.0], "MiB")
    assert not row.met
    cells = row.cells()
    assert (cells["ours"], cells["goal"]) == ("1,600 MiB", "at most 1,536 MiB")
    assert (cells["theirs"], cells["speedup"]) == ("", "")


@pytest.mark.parametrize(
    ("goal", "ours", "theirs", "met", "text"),
    [
        (Goal("at least", 25), 36.9, None, True, "at least 25 %"),
        (Goal("at least", 25), 8.5, None, False, "at least 25 %"),
        (Goal("above theirs"), 85.4, 85.3, True, "above theirs"),
        (Goal("above theirs"), 85.3, 85.3, False, "above theirs"),
    ],
)
def test_goals_of_percentages(
    goal: Goal, ours: float, theirs: float | None, met: bool, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "GOALS", {"what": goal})
    row = Row("what", ours, "%", "the example" if theirs else "", theirs, 10)
    assert (row.met, row.goal, row.speedup) == (met, text, "")


def test_every_goal_belongs_to_a_recorded_row() -> None:
    """A goal whose row has been renamed would be ignored."""
    recorded = {
        row["what"]
        for case in json.loads(RECORD.read_text()).values()
        for measured in case.values()
        for row in measured["rows"]
    }
    assert set(GOALS) <= recorded


@pytest.fixture
def waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that the case `start` measures for each step; `memory` measures nothing with a goal."""
    found = [3.0]
    case = SimpleNamespace(
        start=lambda options: ([single_row("start to first step, Keras", found, "s")], []),
        memory=lambda options: ([single_row("peak memory, xor", [726.0], "MiB")], []),
    )
    monkeypatch.setitem(sys.modules, "tools.bench.commands", case)
    monkeypatch.setattr(subprocess, "run", lambda command: SimpleNamespace(returncode=main(command[3:])))
    for module in (bench, results):
        monkeypatch.setattr(module, "environment", lambda *_: {"versions": {}, "hardware": HARDWARE})
    monkeypatch.setattr(results, "processor_flags", lambda: {"fpu", "avx512_bf16", "amx_bf16"})
    return found


HARDWARE = {"cpu": "Xeon", "cores": 2}
XEON = "Xeon, amx_bf16, 2 cores"


@pytest.mark.parametrize("case", ["start", "start,memory"])
def test_rows_short_of_their_goal_are_printed_and_exit_with_5(
    case: str, waits: list[float], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"case={case}", f"out={tmp_path}/bench.json"]
    assert main(words) == 0
    assert "short of the goal" not in capsys.readouterr().out
    waits[:] = [3.1]
    assert main(words) == 5
    report = (
        "short of the goal: 1 of 1 rows with one\n  start to first step, Keras: 3.1 s; goal: at most 3 s\n"
    )
    assert capsys.readouterr().out.endswith(report)
    assert main([*words, "quick=true"]) == 0, "too few repetitions to decide"


def test_an_error_matters_more_than_a_goal(waits: list[float], tmp_path: Path) -> None:
    waits[:] = [3.1]
    words = ["case=start,memory", f"out={tmp_path}/bench.json"]

    def missing(options: Options) -> Measured:
        raise BenchmarkError("no data")

    sys.modules["tools.bench.commands"].memory = missing  # type: ignore[attr-defined]
    assert main(words) == 3


def test_results_of_other_processors_are_kept(waits: list[float], tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    words = ["case=start", f"out={file}"]
    main(words)
    other = {"start": {"EPYC, 2 cores": json.loads(file.read_text())["start"][XEON]}}
    file.write_text(json.dumps(other))
    for seconds in (2.0, 1.0):
        waits[:] = [seconds]
        main(words)
        measured = json.loads(file.read_text())["start"]
        assert {name: one["rows"][0]["ours"] for name, one in measured.items()} == {
            "EPYC, 2 cores": 3.0,
            XEON: seconds,
        }


def test_contenders_take_turns_and_warmup_calls_are_not_timed() -> None:
    calls: list[str] = []
    found = time_in_turns({name: partial(calls.append, name) for name in "ab"}, 2, 1, 2)
    assert "".join(calls) == "aaabbbaaabbb"
    assert {name: len(values) for name, values in found.items()} == {"a": 4, "b": 4}


@pytest.fixture
def peers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a program instead of the example, and a file instead of MNIST."""
    images = tmp_path / "data" / "mnist" / "train-images-idx3-ubyte"
    program = tmp_path / "examples" / "mnist" / "main.py"
    for path, text in [(images, "images"), (program, FAST_EXAMPLE)]:
        path.parent.mkdir(parents=True)
        path.write_text(text)
    monkeypatch.setattr(mnist, "DATA", tmp_path / "data")
    return tmp_path


def test_the_example_is_timed_until_it_is_accurate_enough(peers: Path) -> None:
    begin = time.perf_counter()
    epochs, reached = mnist.run_pytorch_example(peers, epochs=9)
    assert len(epochs) == 3, "9,899 of 10,000 are not 99.0 %"
    assert all(seconds > 0.15 for seconds in epochs)
    assert reached == pytest.approx(sum(epochs))
    assert reached is not None
    assert reached < time.perf_counter() - begin
    epochs, reached = mnist.run_pytorch_example(peers, epochs=2)
    assert (len(epochs), reached) == (2, None)


def test_the_median_of_three_seeds_of_the_example_counts(
    peers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A seed that does not reach the accuracy counts as the slowest; if two do not, there is no row."""
    moments = {1: 9.0, 2: None, 3: 5.0}
    monkeypatch.setattr(
        mnist, "run_pytorch_example", lambda peers, epochs, seed: ([1.0 + seed], moments[seed])
    )
    monkeypatch.setattr(mnist, "train_fast_cnn", lambda folder, seeds: ([1.0], [0.991]))
    rows = mnist.pytorch_rows(peers, peers, [1.0], 14, 3)
    assert [row.theirs for row in rows] == [3.0, 9.0]
    moments[1] = None
    assert [row.theirs for row in mnist.pytorch_rows(peers, peers, [1.0], 14, 3)] == [3.0]


def test_the_program_in_flax_is_run_by_a_python_that_has_it(
    peers: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not mnist.can_import_flax(sys.executable)
    assert "left out: the program in flax" in (said := capsys.readouterr().out)
    assert "give peer_python=" in said
    python = peers / "python"
    python.write_text(
        f"#!{sys.executable}\nimport sys\n"
        "if '-m' in sys.argv:\n"
        "    print('a note of JAX')\n"
        '    for seconds in (9, 4): print(\'{"seconds": %d, "accuracy": 0.98}\' % seconds)\n'
    )
    python.chmod(0o700)
    assert mnist.can_import_flax(str(python))
    row = mnist.flax_row(str(python), [1.0, 3.0])
    assert (row.ours, row.theirs) == (2.0, 4.0), "the first epoch, which compiles, does not count"


def test_an_example_that_does_not_run_is_an_error(peers: Path) -> None:
    (peers / "examples" / "mnist" / "main.py").write_text("raise SystemExit('no torch here')")
    with pytest.raises(BenchmarkError, match="ended with status 1: no torch here"):
        mnist.run_pytorch_example(peers, 1)
    with pytest.raises(BenchmarkError, match=r"main.py is missing: clone pytorch/examples into"):
        mnist.run_pytorch_example(peers / "examples", 1)


KERAS_EXAMPLE = """\
import keras, numpy as np, time
class Slow(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        time.sleep(0.5)
assert not keras.datasets.mnist.load_data.__module__.startswith("keras")
model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
model.compile(loss="mse")
model.fit(np.zeros((4, 1)), np.zeros((4, 1)), epochs=2, callbacks=[Slow()])
print("Test loss:", 0.1)
print("Test accuracy:", 0.9812)
"""


@pytest.mark.slow
def test_keras_example_is_timed_while_it_trains(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="missing: clone keras-team/keras into"):
        mnist.run_keras_example(tmp_path)
    program = tmp_path / "keras" / "examples" / "demo_mnist_convnet.py"
    program.parent.mkdir(parents=True)
    program.write_text(KERAS_EXAMPLE)
    begin = time.perf_counter()
    seconds, accuracy = mnist.run_keras_example(tmp_path)
    assert accuracy == 0.9812
    assert 1 < seconds < time.perf_counter() - begin - 1, "imports are not counted"


def test_lines_come_with_their_times(tmp_path: Path) -> None:
    program = "import time; print('a', flush=True); time.sleep(0.3); print('b')"
    (first, a), (second, b) = timed_lines([sys.executable, "-c", program], tmp_path)
    assert (a, b) == ("a\n", "b\n")
    assert 0.25 < second - first < 5


def test_peak_memory_is_that_of_the_program() -> None:
    small, large = (peak_memory("-c", f"x = bytearray({size} * 2**20); del x") for size in (1, 200))
    assert 180 < large - small < 220
    with pytest.raises(BenchmarkError, match="ended with status 3"):
        peak_memory("-c", "raise SystemExit(3)")


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("case=convolutions", "unknown case 'convolutions' (did you mean 'convolution'?)"),
        ("cases=mnist", "unknown key 'cases' (did you mean 'case'?)"),
        ("peers=nowhere", "peers=nowhere: there is no such folder"),
        ("peer_python=nowhere", "peer_python=nowhere: there is no such program"),
        ("quick=maybe", "unknown value of quick 'maybe'; choose from true, false"),
        ("out=tests", "cannot write tests: Is a directory; give out=FILE"),
        ("out=/dev/null/x.json", "cannot write /dev/null/x.json: Not a directory; give out=FILE"),
        ("out=README.md", "README.md holds no results of this benchmark; give another file with out=FILE"),
        ("out=docs/results/mnist_cnn.json", "mnist_cnn.json holds no results of this benchmark"),
        ("out=docs/results/honest.json", "honest.json holds no results of this benchmark"),
    ],
)
def test_a_wrong_command_is_refused(word: str, reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    for program in (main, torch_gpu.main):
        if program is main or word.startswith("out="):
            assert program([word]) == 2
            assert reason in capsys.readouterr().err


def test_one_benchmark_does_not_overwrite_the_results_of_another(capsys: pytest.CaptureFixture[str]) -> None:
    before = RECORD.read_bytes()
    assert torch_gpu.main([f"out={RECORD}", "device=cpu", "quick=true"]) == 2
    assert "holds no results of this benchmark" in capsys.readouterr().err
    assert RECORD.read_bytes() == before


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., str]:
    """Return the table of a benchmark made from these records."""

    def fill(name: str, records: Mapping[str, Any]) -> str:
        (tmp_path / "bench.json").write_text(json.dumps(records))
        return fill_tables(f"<!-- benchmark: {name} -->\n<!-- end of benchmark -->\n", tmp_path)

    return fill


def record(row: Row, cpu: str = "C") -> dict[str, Any]:
    return {
        "rows": [asdict(row)],
        "details": [{"measured": "more", "seconds": f"1 on {cpu}"}],
        "versions": {"numpy": "2"},
        "hardware": {"cpu": cpu, "threads": 2, "memory_gib": 8.0},
        "git": {"commit": "0123456789abcdef", "dirty": False},
    }


def test_tables_are_made_of_the_results(table: Callable[..., str]) -> None:
    content = {
        "start": {"C": record(single_row("a refused configuration", [0.6], "s"))},
        "memory": {"C": record(single_row("peak memory, xor", [900.0], "MiB"))},
        "mnist": {"C": record(comparison_row("MNIST, the same CNN, an epoch", [2.0], "the example", [10.0]))},
    }
    page, short = table("all", content), table("goals", content)
    assert "| a refused configuration | 0.6 s |  |  |  | at most 1 s | yes | 1 |" in page
    epoch = "| MNIST, the same CNN, an epoch | 2 s | the example | 10 s | 5 x | 10 times faster | no |"
    assert f"{epoch} 1 |" in page
    assert "| peak memory, xor | 900 MiB |  |  |  |  |  | 1 |" in page
    assert "Measured on C, 2 threads, 8.0 GiB" in page
    assert "commit 0123456789" in page
    assert f"{epoch}\n" in short
    assert "peak memory" not in short, "it has no goal"
    assert "| more | 1 on C |" in table("mnist", content)
    with pytest.raises(ConfigError, match="not been measured: make bench case=imdb"):
        table("imdb", content)


def test_tables_show_every_processor(table: Callable[..., str]) -> None:
    one, two = (comparison_row("an epoch", [seconds], "the example", [10.0]) for seconds in (2.0, 5.0))
    content = {
        "mnist": {"EPYC, 2 cores": record(one, "EPYC"), "Xeon, 2 cores": record(two, "Xeon")},
        "memory": {"EPYC, 2 cores": record(single_row("peak memory, xor", [900.0], "MiB"), "EPYC")},
    }
    lines = table("all", content).splitlines()
    assert [line for line in lines if line.startswith("| ")][2:] == [
        "| an epoch | EPYC, 2 cores | 2 s | the example | 10 s | 5 x | 1 |",
        "| an epoch | Xeon, 2 cores | 5 s | the example | 10 s | 2 x | 1 |",
        "| peak memory, xor | EPYC, 2 cores | 900 MiB |  |  |  | 1 |",
    ]
    assert "Measured on EPYC, 2 threads, 8.0 GiB; Xeon, 2 threads, 8.0 GiB" in lines[-3]
    details = table("mnist", content)
    assert "| more | EPYC, 2 cores | 1 on EPYC |\n| more | Xeon, 2 cores | 1 on Xeon |" in details


@pytest.mark.slow
def test_cases_are_measured(tmp_path: Path) -> None:
    """All that need no data of their own and a minute at most; each in a process of its own."""
    cases = ["frozen_features", "convolution", "recurrent", "arithmetic", "start", "memory", "processes"]
    file = tmp_path / "bench.json"
    assert main([f"case={','.join(cases)}", "quick=true", f"out={file}"]) == 0
    measured = json.loads(file.read_text())
    assert list(measured) == cases
    for case in measured.values():
        ((kind, found),) = case.items()
        assert kind == results.processor()
        assert found["rows"]
        assert all(row["ours"] > 0 for row in found["rows"])
        assert found["quick"] is True


@pytest.mark.parametrize(
    ("fault", "failing"),
    [
        (lambda logits, steps: logits, ""),
        (lambda logits, steps: logits if steps <= STEPS else 2 * logits + 1, "largest_difference"),
        (lambda logits, steps: copy_and_return(logits), "transfers"),
    ],
)
def test_other_losses_and_transfers_of_a_gpu_are_found(
    fault: Callable[[torch.Tensor, int], torch.Tensor], failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The CPU stands in for the GPU: its first `STEPS` steps are the CPU's, the next are the GPU's."""
    steps, forward = itertools.count(1), TorchLearner.forward
    monkeypatch.setattr(TorchLearner, "forward", lambda *given: fault(forward(*given), next(steps)))
    found = torch_gpu.measure("xor", "cpu", 1.0, quick=True)
    wrong = {
        "largest_difference": found["largest_difference"] > found["tolerance"],
        "transfers": len(found["transfers"]) == STEPS - 1,  # the first step is not watched
    }
    assert [name for name, is_wrong in wrong.items() if is_wrong] == [failing] * bool(failing)
    assert found["passed"] is (failing == "")


def copy_and_return(logits: torch.Tensor) -> torch.Tensor:
    """Pretend to copy to the GPU: record what CUDA's profiler calls it."""
    with torch.profiler.record_function("Memcpy HtoD (Pageable -> Device)"):
        return logits


def test_measurements_on_a_gpu_keep_to_their_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = torch_gpu.Record(tmp_path / "gpu.json", "cpu", minutes=0, quick=True)
    record.measure_networks()
    record.measure_seeds(20)
    assert record.left_out == [*torch_gpu.NETWORKS, "20 of 20 seeds of MNIST"]
    assert capsys.readouterr().out.count("left out, because the time is used up: ") == len(record.left_out)


@pytest.mark.slow
def test_every_network_is_measured_on_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a GPU, the CPU stands in for it; an error in one network leaves the others alone."""
    file = tmp_path / "gpu.json"
    monkeypatch.setitem(torch_gpu.NETWORKS, "xor", ("optimizer.lr=1e300", "float32", ""))
    assert torch_gpu.main(["quick=true", "device=cpu", f"out={file}"]) == 5
    ((kind, found),) = json.loads(file.read_text())["gpu"].items()
    assert kind == results.processor()
    assert [failure.partition(":")[0] for failure in found["failed"]] == ["xor"]
    assert [row["network"] for row in found["details"]] == [*torch_gpu.NETWORKS][1:]
    assert all(one["passed"] and one["device_seconds"] > 0 for one in found["networks"].values())
    assert len(found["mnist"]["accuracies"]) == 1
    page = fill_tables("<!-- benchmark: gpu -->\n<!-- end of benchmark -->\n", tmp_path)
    assert "| mnist_cnn cnn | " in page


def test_every_network_was_right_on_a_gpu() -> None:
    records = json.loads(torch_gpu.RESULTS.read_text())["gpu"].values()
    assert len(records) >= 1
    for found in records:
        assert found["device"].startswith("NVIDIA ")
        assert (found["failed"], found["left_out"], found["quick"]) == ([], [], False)
        assert found["networks"].keys() == torch_gpu.NETWORKS.keys()
        assert len(found["mnist"]["accuracies"]) == 20


def test_a_gpu_that_is_missing_is_said(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert torch_gpu.main(["device=cuda", f"out={tmp_path}/gpu.json"]) == 2
    assert capsys.readouterr().err.startswith("error: device=cuda: PyTorch finds no GPU")
