"""Several processes take the same steps as one, score every example once, and end together."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from apps.xor.train import train as train_xor
from shared.errors import ConfigError
from shared.torch_distributed import Shard
from shared.training.loop import evaluate
from tests.helpers import ROOT, app_config, run_mnist
from tests.training import members
from tests.training.members import Ended, free_port, together

# Largest difference of a step's loss. Sums over processes are rounded in another order: 2^-53 or
# 2^-24 relative to the loss in each of thousands of products.
TOLERANCE = {"float64": 1e-12, "float32": 1e-6}
SECONDS = 30.0  # in which all must have ended, on a busy machine; torchrun kills after as many
PATIENCE = 900.0  # seconds for a training on a busy machine

DIGITS = (
    "data=digits data.train_limit=226 data.test_limit=60 data.shift=1 trainer.batch_size=50 trainer.epochs=2"
)
CNN = f"{DIGITS} model=cnn model.channels=[2,3] model.hidden=8"  # with dropout
FAST_CNN = f"{DIGITS} model=fast_cnn model.channels=[2,3] model.hidden=8"  # with batch norm
XOR = "trainer.epochs=1 data.repeats=3 corrections=false"
IMDB = "debug=smoke data=reviews"
ATTENTION = "debug=smoke data=recall data.train_limit=128 trainer.epochs=1"
RESNET = "debug=smoke data=digit_pictures data.size=32 source.per_class=20 source.precision=float32"
FLOW = "debug=smoke framework=torch trainer.max_steps=null"
FLOW_TABLES = ("depth", "remedies", "time", "clipping", "overfitting")
# So many steps, with a checkpoint after each, that a signal arrives before the last one
LONG = f"{CNN} trainer.precision=float64 trainer.epochs=60 trainer.checkpoint_seconds=0"


@pytest.fixture(scope="module")
def context() -> ForkServerContext:
    return members.server()


def rows(path: Path) -> list[dict[str, str]]:
    with open(path) as file:
        return list(csv.DictReader(file))


def losses(folder: Path) -> list[float]:
    return [float(row["loss"]) for row in rows(folder / "steps.csv")]


def metrics_of(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "metrics.json").read_text()))


def names_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*.*")}


def trained(context: ForkServerContext, count: int, folder: Path, app: str, words: str) -> list[Ended]:
    """Train with `count` processes; the run folder is `folder`/COUNT unless a run is resumed."""
    own = ["trainer.threads=1", *words.split(), f"hydra.run.dir={folder}/{count}"]
    ended = together(context, count, folder, members.run, app, own)
    assert [one.status for one in ended] == [0] * count, ended
    return ended


def assert_same_steps(one: Path, other: Path, tolerance: float) -> None:
    assert len(losses(one)) > 1
    np.testing.assert_allclose(losses(other), losses(one), rtol=0, atol=tolerance)
    for first, second in zip(rows(one / "history.csv"), rows(other / "history.csv"), strict=True):
        for key in first.keys() - {"seconds"}:
            assert float(second[key]) == pytest.approx(float(first[key]), rel=0, abs=tolerance), key
    first, second = metrics_of(one), metrics_of(other)
    assert second["test_accuracy"] == first["test_accuracy"]
    assert second.get("best_epoch") == first.get("best_epoch")
    assert second["test_loss"] == pytest.approx(first["test_loss"], rel=0, abs=tolerance)


def assert_same_tables(one: Path, other: Path) -> None:
    """Compare tables whose gradients come from batches that do not divide by three."""
    assert len(rows(one)) >= 5
    for first, second in zip(rows(one), rows(other), strict=True):
        for key, value in first.items():
            if re.fullmatch(r"[\d.e+-]+", value):
                assert float(second[key]) == pytest.approx(float(value), rel=1e-9), key
            else:
                assert second[key] == value


@pytest.mark.parametrize(
    ("app", "count", "precision", "words"),
    [
        ("mnist_cnn", 2, "float64", f"{CNN} trainer.clip_norm=0.5 optimizer.l1=0.001"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [
                (
                    "mnist_cnn",
                    3,
                    "float64",
                    f"{FAST_CNN} trainer.epochs=4 trainer.patience=1 optimizer.lr=0.2",
                ),
                ("mnist_cnn", 2, "float32", CNN),
                ("mnist_cnn", 3, "float32", FAST_CNN),
                ("mnist_cnn", 3, "float64", f"{DIGITS} model=mlp optimizer=momentum"),
                ("xor", 3, "float64", f"{XOR} trainer.batch_size=1"),  # two have nothing to do
                ("xor", 3, "float64", f"{XOR} trainer.batch_size=4"),
                ("imdb_rnn", 2, "float64", f"{IMDB} model=lstm"),
                ("imdb_rnn", 2, "float64", f"{IMDB} model=bilstm"),
                ("imdb_rnn", 3, "float64", f"{IMDB} model=rnn"),
                ("imdb_rnn", 3, "float64", f"{IMDB} model=bow"),
                ("attention", 2, "float64", ATTENTION),  # and its twin
                ("attention", 3, "float64", f"{ATTENTION} model=multi_head"),
                ("resnet_transfer", 2, "float64", f"{RESNET} weights=none transfer.unfreeze_every=1"),
                ("resnet_transfer", 3, "float64", f"{RESNET} transfer.mode=frozen cache=CACHE"),
                ("resnet_transfer", 2, "float64", f"{RESNET} weights=none transfer.mode=scratch"),
                ("gradient_flow", 3, "float64", FLOW),
            ]
        ),
    ],
)
def test_several_processes_take_the_same_steps_as_one(
    app: str, count: int, precision: str, words: str, context: ForkServerContext, tmp_path: Path
) -> None:
    words = f"{words} trainer.precision={precision}".replace("CACHE", f"{tmp_path}/cache")
    alone = trained(context, 1, tmp_path, app, words)[0]
    ended = trained(context, count, tmp_path, app, words)
    one, other = tmp_path / "1", tmp_path / f"{count}"
    assert_same_steps(one, other, TOLERANCE[precision])
    for name in FLOW_TABLES if app == "gradient_flow" else ():
        assert_same_tables(one / f"{name}.csv", other / f"{name}.csv")
    # The first run trains the source task of resnet_transfer, the second one finds it in the cache.
    names = {name for name in names_in(one) if not name.startswith("source/")}
    assert names_in(other) == names
    assert metrics_of(other)["hardware"]["processes"] == count
    for line in ("run folder: ", "test: accuracy"):
        assert ended[0].output.count(line) == alone.output.count(line) > 0
    assert [one.output for one in ended[1:]] == [""] * (count - 1)


@pytest.mark.slow
def test_the_source_task_is_trained_by_all_and_cached_once(
    context: ForkServerContext, tmp_path: Path
) -> None:
    for count in (1, 2):
        words = f"{RESNET} cache={tmp_path}/cache_{count}"
        ended = trained(context, count, tmp_path, "resnet_transfer", words)
        assert "source task: training 1 epochs" in ended[0].output
        assert len(list((tmp_path / f"cache_{count}").glob("*.safetensors"))) == 1
    one, other = (losses(tmp_path / count / "source") for count in ("1", "2"))
    assert len(other) == len(one) > 1
    # It is always trained in float32, where one process is as far from float64 as two processes are
    # (6e-7 at the first step, 1e-2 at the fifth), so only the first step is compared.
    assert other[0] == pytest.approx(one[0], rel=1e-5)


@pytest.mark.slow
def test_the_comparison_of_modes_is_written_once(context: ForkServerContext, tmp_path: Path) -> None:
    words = f"{RESNET} transfer.mode=compare trainer.precision=float64 cache={tmp_path}/cache"
    for count in (1, 2):
        trained(context, count, tmp_path, "resnet_transfer", words)
    one, other = (rows(tmp_path / count / "comparison.csv") for count in ("1", "2"))
    assert sorted(row["mode"] for row in one) == ["finetune", "frozen", "scratch"]
    for first, second in zip(one, other, strict=True):
        assert float(second["test_loss"]) == pytest.approx(float(first["test_loss"]), abs=1e-9)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_every_example_is_scored_once(count: int, context: ForkServerContext, tmp_path: Path) -> None:
    sizes = [1, 250, 251, 999, 1601]  # a batch is 250
    ended = together(context, count, tmp_path, members.score, tmp_path, sizes)
    assert [one.status for one in ended] == [0] * count, ended
    for size in sizes:
        alone: Any = members.Counting()
        expected = evaluate(alone, members.examples(size))
        found = [np.load(tmp_path / f"{size}_{rank}.npz") for rank in range(count)]
        scored = np.concatenate([one["scored"] for one in found])
        np.testing.assert_array_equal(np.sort(scored), np.arange(size))
        for one in found:
            assert (one["loss"], one["accuracy"]) == (expected.loss, expected.accuracy)
            np.testing.assert_array_equal(one["predictions"], expected.predictions)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_the_shards_add_up_to_the_batch(count: int, size: int) -> None:
    batch, weights = np.arange(size), 0.0
    counted: list[int] = []
    for rank in range(count):
        shard = Shard(rank, count)
        rows = batch[shard.select(size)]
        assert len(rows) >= 1, "every process has something to compute"
        counted += rows.tolist() if shard.weight else []
        assert shard.weight in (0, len(rows) / size)
        weights += shard.weight
    assert sorted(counted) == batch.tolist()
    assert weights == pytest.approx(1)


@pytest.mark.parametrize("framework", ["keras", "numpy"])
def test_other_frameworks_refuse_several_processes(
    framework: str, no_frameworks: dict[str, str], tmp_path: Path
) -> None:
    environment = no_frameworks | {"WORLD_SIZE": "2", "RANK": "0"}
    words = [f"framework={framework}", f"hydra.run.dir={tmp_path}/run"]
    result = run_mnist(*words, environment=environment)
    assert result.returncode == 2
    error = f"error: framework={framework} runs in one process: start it without torchrun"
    assert result.stderr.splitlines() == [error]
    assert not (tmp_path / "run").exists()


class Torchrun:
    """torchrun with an application, in the folder `folder`."""

    def __init__(
        self,
        folder: Path,
        words: Sequence[str],
        count: int = 2,
        options: Sequence[str] = (),
        app: str = "mnist_cnn",
    ) -> None:
        options = options or ["--master-port", str(free_port())]
        torchrun = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={count}", *options]
        self.process = subprocess.Popen(
            [*torchrun, "-m", f"apps.{app}", "trainer.threads=1", *words],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def end(self, seconds: float = PATIENCE) -> Ended:
        """Wait for the end, at most `seconds`."""
        try:
            output, _ = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.process.terminate()
            output, _ = self.process.communicate()
            pytest.fail(f"torchrun has not ended after {seconds} seconds: {output}")
        return Ended(self.process.returncode, output)

    def pid(self, rank: int, world_size: int = 2) -> int:
        """Return the process of a rank."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        for child in children.split():
            words = Path(f"/proc/{child}/environ").read_text().split("\0")
            if {f"RANK={rank}", f"WORLD_SIZE={world_size}"} <= set(words):
                return int(child)
        raise AssertionError(f"no process has the rank {rank} of {world_size}: {children}")


def wait_for_checkpoint(folder: Path, pattern: str) -> None:
    end = time.monotonic() + PATIENCE
    while not list(folder.glob(pattern)):
        assert time.monotonic() < end, "there is no checkpoint"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def long_run(context: ForkServerContext, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the long training by one process, which nothing interrupts."""
    folder = tmp_path_factory.mktemp("long")
    trained(context, 1, folder, "mnist_cnn", LONG)
    return folder / "1"


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_ends_the_others_and_the_run_resumes(
    rank: int, long_run: Path, context: ForkServerContext, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    training = Torchrun(tmp_path, [*LONG.split(), f"hydra.run.dir={run_dir}"])
    wait_for_checkpoint(run_dir, "checkpoint_*")
    pids = [training.pid(one) for one in (0, 1)]
    os.kill(pids[rank], signal.SIGKILL)
    ended = training.end(SECONDS)
    assert ended.status == 1
    assert "Signal 9 (SIGKILL)" in ended.output, "torchrun names the signal"
    if rank == 1:  # torchrun may ask rank 0 to end before it reports the lost process: then only that
        assert len(re.findall("error: another process of this|^interrupted", ended.output, re.M)) == 1
    for pid in pids:
        assert not Path(f"/proc/{pid}").exists()
    again = trained(context, 3, tmp_path, "mnist_cnn", f"{LONG} trainer.resume={run_dir}")
    assert again[0].output.count("resuming after step") == 1
    assert_same_steps(long_run, run_dir, TOLERANCE["float64"])
    assert names_in(run_dir) == names_in(long_run)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_max_restarts_resumes_with_the_same_bits(
    rank: int, context: ForkServerContext, tmp_path: Path
) -> None:
    words = f"{LONG} trainer.epochs=15".split()
    trained(context, 2, tmp_path, "mnist_cnn", " ".join(words))
    options = ["--master-port", str(free_port()), "--max-restarts=2"]
    training = Torchrun(tmp_path, words, options=options)
    outputs = tmp_path / "outputs" / "mnist_cnn"
    wait_for_checkpoint(outputs, "*/checkpoint_*")
    (run_dir,) = (path.parent for path in outputs.glob("*/config.yaml"))
    for _ in range(2):
        step = last_step(run_dir)
        os.kill(training.pid(rank), signal.SIGKILL)
        wait_for_step(step + 3, run_dir, training)
    ended = training.end()
    assert ended.status == 0, ended.output
    assert ended.output.count("resuming after step") == 2, ended.output
    assert [path.parent for path in outputs.glob("*/config.yaml")] == [run_dir]
    assert metrics_of(run_dir)["resumed"] == 2
    for name in ("weights.safetensors", "steps.csv", "confusion.png"):
        assert (run_dir / name).read_bytes() == (tmp_path / "2" / name).read_bytes(), name


@pytest.mark.parametrize(("run_id", "restarts"), [("none", "1"), ("a_name", "1"), ("a/name", "0")])
def test_a_restart_after_the_end_trains_nothing(
    run_id: str, restarts: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a process fails after its run has ended, or, not counted as a restart, another one joins."""
    monkeypatch.chdir(tmp_path)
    for name, value in (("RUN_ID", run_id), ("MAX_RESTARTS", "2"), ("RESTART_COUNT", "0")):
        monkeypatch.setenv(f"TORCHELASTIC_{name}", value)
    words = "framework=numpy", "debug=smoke", "corrections=false"
    train_xor(app_config("xor", tmp_path / "first", *words))
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", restarts)
    with pytest.raises(ConfigError, match="this run is done"):
        train_xor(app_config("xor", tmp_path / "second", *words))
    assert not (tmp_path / "second").exists()
    shutil.rmtree(tmp_path / "first")
    train_xor(app_config("xor", tmp_path / "second", *words))  # there is nothing to resume


def last_step(folder: Path) -> int:
    """Return the step of the last checkpoint."""
    return max((int(path.name.split("_")[1]) for path in folder.glob("checkpoint_*")), default=0)


def wait_for_step(step: int, folder: Path, training: Torchrun) -> None:
    while last_step(folder) < step:
        assert training.process.poll() is None, training.end()
        time.sleep(0.02)


@pytest.mark.slow
def test_ctrl_c_leaves_a_checkpoint_and_the_latest_run_resumes(long_run: Path, tmp_path: Path) -> None:
    words = [*LONG.split(), "trainer.checkpoint_seconds=0.2"]
    training = Torchrun(tmp_path, words)
    outputs = tmp_path / "outputs" / "mnist_cnn"
    wait_for_checkpoint(outputs, "*/checkpoint_*")
    training.process.send_signal(signal.SIGINT)
    ended = training.end(SECONDS)
    assert ended.output.count("interrupted: after step") == 1, ended.output
    (run_dir,) = outputs.iterdir()
    assert metrics_of(run_dir)["status"] == "interrupted"
    last = max(run_dir.glob("checkpoint_*"))
    assert int(last.name.split("_")[1]) == metrics_of(run_dir)["steps"]
    again = Torchrun(tmp_path, [*words, "trainer.resume=latest"]).end()
    assert again.status == 0, again.output
    assert [path.name for path in outputs.iterdir()] == [run_dir.name]
    assert_same_steps(long_run, run_dir, TOLERANCE["float64"])


@pytest.mark.slow
def test_the_jobs_of_a_sweep_share_the_processes(tmp_path: Path) -> None:
    words = [*XOR.split(), "trainer.max_steps=4", "seed=0,1,2", f"hydra.sweep.dir={tmp_path}/sweep", "-m"]
    ended = Torchrun(tmp_path, words, app="xor").end()
    assert ended.status == 0, ended.output
    assert [row["status"] for row in rows(tmp_path / "sweep" / "sweep.csv")] == ["done"] * 3
    words = [*CNN.split(), "optimizer.lr=1e30,0.01", f"hydra.sweep.dir={tmp_path}/failed", "-m"]
    assert Torchrun(tmp_path, words).end().status == 1
    assert [row["status"] for row in rows(tmp_path / "failed" / "sweep.csv")] == ["diverged"]


@pytest.mark.slow
def test_an_error_is_printed_once(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").touch()
    ended = Torchrun(tmp_path, [*CNN.split(), "hydra.run.dir=run"]).end()
    assert ended.status == 1
    assert ended.output.count("error: ") == 1, ended.output
    assert "holds a run" in ended.output
    ended = Torchrun(tmp_path, [*CNN.split(), "optimizer.lr=1e30"]).end()
    assert ended.output.count("error: ") == 1, ended.output
    assert "try a smaller optimizer.lr" in ended.output


@pytest.mark.slow
def test_two_nodes_take_the_same_steps(context: ForkServerContext, tmp_path: Path) -> None:
    """Two processes on one node and one on the other, each node in its own folder."""
    words, port = f"{CNN} trainer.precision=float64", free_port()
    trained(context, 1, tmp_path, "mnist_cnn", words)
    started = []
    for node, count in ((0, 2), (1, 1)):
        own = tmp_path / f"node_{node}"
        own.mkdir()
        options = ["--nnodes=2", f"--node-rank={node}", "--master-addr=127.0.0.1", f"--master-port={port}"]
        started.append(Torchrun(own, words.split(), count, options))
    ended = [one.end() for one in started]
    assert [one.status for one in ended] == [0, 0], ended
    (run_dir,) = (tmp_path / "node_0" / "outputs" / "mnist_cnn").iterdir()
    assert not (tmp_path / "node_1" / "outputs").exists()
    assert_same_steps(tmp_path / "1", run_dir, TOLERANCE["float64"])
    assert metrics_of(run_dir)["hardware"]["processes"] == 3


@pytest.mark.slow  # 15 seconds of waiting for the lost node, and eight processes start
def test_a_lost_node_comes_back(long_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each node in its own folder, as docs/usage.md says, but with shorter time limits."""
    monkeypatch.setenv("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    options = ["--nnodes=1:2", "--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{free_port()}"]
    options += ["--rdzv-id=a_name", "--max-restarts=1"]
    limits = "last_call_timeout=5,keep_alive_interval=2"

    def start(node: int) -> Torchrun:
        own = [f"--rdzv-conf=is_host={1 - node},{limits}", f"--local-addr=127.0.0.{1 + node}"]
        (tmp_path / f"node_{node}").mkdir(exist_ok=True)
        return Torchrun(tmp_path / f"node_{node}", LONG.split(), 1, [*options, *own])

    lost, first = start(1), start(0)
    outputs = tmp_path / "node_0" / "outputs" / "mnist_cnn"
    wait_for_checkpoint(outputs, "*/checkpoint_*")
    (run_dir,) = (path.parent for path in outputs.glob("*/config.yaml"))
    worker = lost.pid(1)
    for pid in (lost.process.pid, worker):
        os.kill(pid, signal.SIGKILL)
    lost.end()
    wait_for_step(last_step(run_dir) + 3, run_dir, first)  # the first node alone
    alone = first.pid(0, world_size=1)
    os.kill(alone, signal.SIGSTOP)  # so that it has not ended when the other one is back
    again = start(1)
    while not has_pending_sigterm(alone):
        assert first.process.poll() is again.process.poll() is None, again.end()
        time.sleep(0.02)
    os.kill(alone, signal.SIGCONT)
    ended = [one.end() for one in (first, again)]
    assert [one.status for one in ended] == [0, 0], ended
    resumed = [int(step) for step in re.findall(r"resuming after step (\d+)", ended[0].output)]
    assert len(resumed) == 2, ended[0].output
    assert 0 < resumed[0] < resumed[1], ended[0].output
    assert metrics_of(run_dir)["hardware"]["processes"] == 2
    steps = [int(row["step"]) for row in rows(run_dir / "steps.csv")]
    assert steps == list(range(1, metrics_of(run_dir)["steps"] + 1))
    assert_same_steps(long_run, run_dir, TOLERANCE["float64"])
    assert not (tmp_path / "node_1" / "outputs").exists()


def has_pending_sigterm(pid: int) -> bool:
    """Return whether a stopped process will get SIGTERM when it continues."""
    pending = re.findall(r"^ShdPnd:\s*(\w+)", Path(f"/proc/{pid}/status").read_text(), re.M)
    return bool(int(pending[0], 16) >> (signal.SIGTERM - 1) & 1)
