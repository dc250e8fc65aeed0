"""Several processes take the steps of one, score every example once, and end together."""

import contextlib
import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared import distributed
from shared.torch_distributed import Shard
from shared.training.loop import evaluate
from tests.helpers import ROOT, run_mnist
from tests.training import members
from tests.training.members import Ended, free_port, together

# Largest difference of a step's loss. Sums over processes are rounded in another order: 2^-53 or
# 2^-24 relative to the loss in each of thousands of products.
TOLERANCE = {"float64": 1e-12, "float32": 1e-6}
SECONDS = 30.0  # in which all must have ended, on a busy machine; torchrun kills after as many
PATIENCE = 900.0  # seconds for a training on a busy machine

DIGITS = [
    "data=digits",
    "data.train_limit=226",
    "data.test_limit=60",
    "data.shift=1",
    "trainer.batch_size=50",
    "trainer.epochs=2",
    "trainer.threads=1",
]
CNN = [*DIGITS, "model=cnn", "model.channels=[2,3]", "model.hidden=8"]  # with dropout
FAST_CNN = [*DIGITS, "model=fast_cnn", "model.channels=[2,3]", "model.hidden=8"]  # batch norm
XOR = ["trainer.epochs=1", "data.repeats=3", "corrections=false", "trainer.threads=1"]
IMDB = ["debug=smoke", "data=reviews", "trainer.threads=1"]
ATTENTION = ["debug=smoke", "data=recall", "data.train_limit=128", "trainer.epochs=1", "trainer.threads=1"]
RESNET = [
    "debug=smoke",
    "data=digit_pictures",
    "data.size=32",
    "source.per_class=20",
    "source.precision=float32",
    "trainer.threads=1",
]
DRAWN = [*RESNET, "weights=none"]
FLOW = ["debug=smoke", "framework=torch", "trainer.threads=1", "trainer.max_steps=null"]


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


def trained(
    context: ForkServerContext, count: int, folder: Path, app: str, words: Sequence[str]
) -> list[Ended]:
    """Train with so many processes; the run folder is `folder`/COUNT."""
    own = [*words, f"hydra.run.dir={folder}/{count}"]
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
    assert second["test_loss"] == pytest.approx(first["test_loss"], rel=0, abs=tolerance)


@pytest.mark.parametrize(
    ("app", "count", "precision", "words"),
    [
        ("mnist_cnn", 2, "float64", [*CNN, "trainer.clip_norm=0.5"]),
        ("mnist_cnn", 3, "float64", FAST_CNN),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [
                ("mnist_cnn", 2, "float32", CNN),
                ("mnist_cnn", 3, "float32", FAST_CNN),
                ("mnist_cnn", 3, "float64", [*DIGITS, "model=mlp", "optimizer=momentum"]),
                ("xor", 3, "float64", [*XOR, "trainer.batch_size=1"]),  # two have nothing to do
                ("xor", 3, "float64", [*XOR, "trainer.batch_size=4"]),
                ("imdb_rnn", 2, "float64", [*IMDB, "model=lstm"]),
                ("imdb_rnn", 3, "float64", [*IMDB, "model=rnn"]),
                ("imdb_rnn", 3, "float64", [*IMDB, "model=bow"]),
                ("attention", 2, "float64", ATTENTION),  # and its twin
                ("attention", 3, "float64", [*ATTENTION, "model=multi_head"]),
                ("resnet_transfer", 2, "float64", [*DRAWN, "transfer.unfreeze_every=1"]),
                ("resnet_transfer", 3, "float64", [*RESNET, "transfer.mode=frozen", "cache=cache"]),
                ("resnet_transfer", 2, "float64", [*DRAWN, "transfer.mode=scratch"]),
                ("gradient_flow", 2, "float64", FLOW),
            ]
        ),
    ],
)
def test_the_steps_are_those_of_one_process(
    app: str, count: int, precision: str, words: list[str], context: ForkServerContext, tmp_path: Path
) -> None:
    words = [*words, f"trainer.precision={precision}"]
    words = [word.replace("cache=", f"cache={tmp_path}/") for word in words]
    alone = trained(context, 1, tmp_path, app, words)[0]
    ended = trained(context, count, tmp_path, app, words)
    one, other = tmp_path / "1", tmp_path / f"{count}"
    assert_same_steps(one, other, TOLERANCE[precision])
    # the source task of resnet_transfer is learned once, here by the first run
    names = {name for name in names_in(one) if not name.startswith("source/")}
    assert names_in(other) == names
    assert metrics_of(other)["hardware"]["processes"] == count
    for line in ("run folder: ", "test: accuracy"):
        assert ended[0].said.count(line) == alone.said.count(line) > 0
    assert [one.said for one in ended[1:]] == [""] * (count - 1)


@pytest.mark.slow
def test_the_source_task_is_learned_together_and_kept_once(
    context: ForkServerContext, tmp_path: Path
) -> None:
    for count in (1, 2):
        words = [*RESNET, f"cache={tmp_path}/cache_{count}"]
        ended = trained(context, count, tmp_path, "resnet_transfer", words)
        assert "source task: 1 epochs" in ended[0].said
        assert len(list((tmp_path / f"cache_{count}").glob("*.safetensors"))) == 1
    one, other = (losses(tmp_path / count / "source") for count in ("1", "2"))
    assert len(other) == len(one) > 1
    # It cannot be learned in float64. In float32 this network is as far from its float64 self with
    # one process as with two (6e-7 at the first step, 1e-2 at the fifth): the first step is held.
    assert other[0] == pytest.approx(one[0], rel=1e-5)


@pytest.mark.slow
def test_the_comparison_of_modes_is_written_once(context: ForkServerContext, tmp_path: Path) -> None:
    words = [*RESNET, "transfer.mode=compare", "trainer.precision=float64", f"cache={tmp_path}/cache"]
    for count in (1, 2):
        trained(context, count, tmp_path, "resnet_transfer", words)
    one, other = (rows(tmp_path / count / "comparison.csv") for count in ("1", "2"))
    assert sorted(row["mode"] for row in one) == ["finetune", "frozen", "scratch"]
    for first, second in zip(one, other, strict=True):
        assert float(second["test_loss"]) == pytest.approx(float(first["test_loss"]), abs=1e-9)


@pytest.mark.slow
def test_the_gradients_that_are_drawn_are_those_of_one_process(
    context: ForkServerContext, tmp_path: Path
) -> None:
    """Of batches that do not divide by three; batch normalization sees the whole batch."""
    for count in (1, 3):
        trained(context, count, tmp_path, "gradient_flow", FLOW)
    for name in ("depth", "remedies", "time", "clipping", "overfitting"):
        one, other = (rows(tmp_path / count / f"{name}.csv") for count in ("1", "3"))
        assert len(one) >= 5
        for first, second in zip(one, other, strict=True):
            for key, value in first.items():
                if re.fullmatch(r"[\d.e+-]+", value):
                    assert float(second[key]) == pytest.approx(float(value), rel=1e-9), key
                else:
                    assert second[key] == value


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
def test_the_shares_are_the_batch(count: int, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "world_size", lambda: count)
    batch, weights = np.arange(size), 0.0
    counted: list[int] = []
    for rank in range(count):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        shard = Shard()
        rows = batch[shard.select(size)]
        assert len(rows) >= 1, "every process has something to compute"
        counted += rows.tolist() if shard.weight else []
        assert shard.weight in (0, len(rows) / size)
        weights += shard.weight
    assert sorted(counted) == batch.tolist()
    assert weights == pytest.approx(1)


ALONE = {
    "framework=keras": "error: framework=keras runs in one process: start it without torchrun",
    "framework=numpy": "error: framework=numpy runs in one process: start it without torchrun",
}


@pytest.mark.parametrize("argument", ALONE)
def test_what_takes_one_process_says_so(argument: str, no_frameworks: dict[str, str], tmp_path: Path) -> None:
    environment = no_frameworks | {"WORLD_SIZE": "2", "RANK": "0"}
    result = run_mnist(argument, f"hydra.run.dir={tmp_path}/run", environment=environment)
    assert result.returncode == 2
    assert result.stderr.splitlines() == [ALONE[argument]]
    assert not (tmp_path / "run").exists()


class Torchrun:
    """torchrun with an application, in a folder of its own."""

    def __init__(
        self,
        folder: Path,
        app: str,
        words: Sequence[str],
        count: int = 2,
        before: Sequence[str] = (),
        options: Sequence[str] = (),
        environment: dict[str, str] | None = None,
    ) -> None:
        options = options or ["--master-port", str(free_port())]
        self.process = subprocess.Popen(
            [
                *before,
                sys.executable,
                "-m",
                "torch.distributed.run",
                f"--nproc-per-node={count}",
                *options,
                "-m",
                f"apps.{app}",
                *words,
            ],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def end(self, seconds: float = PATIENCE) -> Ended:
        """Wait for its end, so long at most."""
        try:
            said, _ = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.process.terminate()
            said, _ = self.process.communicate()
            pytest.fail(f"it has not ended after {seconds} seconds: {said}")
        return Ended(self.process.returncode, said)

    def pid(self, rank: int) -> int:
        """Return the process of a rank."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        for child in children.split():
            words = Path(f"/proc/{child}/environ").read_text().split("\0")
            if f"RANK={rank}" in words:
                return int(child)
        raise AssertionError(f"no process has the rank {rank}: {children}")


def wait_for_checkpoint(folder: Path) -> None:
    end = time.monotonic() + PATIENCE
    while not list(folder.glob("checkpoint_*")):
        assert time.monotonic() < end, "there is no checkpoint"
        time.sleep(0.01)


# So many steps, with a checkpoint after each, that it is hit before its end.
LONG = [*CNN, "trainer.precision=float64", "trainer.epochs=60", "trainer.checkpoint_seconds=0"]


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_ends_the_others_and_the_run_goes_on(
    rank: int, context: ForkServerContext, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    training = Torchrun(tmp_path, "mnist_cnn", [*LONG, f"hydra.run.dir={run_dir}"])
    wait_for_checkpoint(run_dir)
    others = [training.pid(one) for one in (0, 1)]
    os.kill(others[rank], signal.SIGKILL)
    ended = training.end(SECONDS)
    assert ended.status == 1
    assert "Signal 9 (SIGKILL)" in ended.said, "torchrun says which"
    if rank == 1:  # where torchrun asks it to end before it has said why, it says just that
        assert len(re.findall("error: another process of this|^interrupted", ended.said, re.M)) == 1
    for pid in others:
        assert not Path(f"/proc/{pid}").exists()
    again = Torchrun(tmp_path, "mnist_cnn", [*LONG, f"trainer.resume={run_dir}"], count=3).end()
    assert again.status == 0, again.said
    assert again.said.count("resuming after step") == 1
    trained(context, 1, tmp_path, "mnist_cnn", LONG)
    assert_same_steps(tmp_path / "1", run_dir, TOLERANCE["float64"])
    assert names_in(run_dir) == names_in(tmp_path / "1")


@pytest.mark.slow
def test_ctrl_c_leaves_a_checkpoint_and_the_newest_run_goes_on(
    context: ForkServerContext, tmp_path: Path
) -> None:
    words = [*LONG, "trainer.checkpoint_seconds=0.2"]
    training = Torchrun(tmp_path, "mnist_cnn", words)
    outputs = tmp_path / "outputs" / "mnist_cnn"
    end = time.monotonic() + PATIENCE
    while not list(outputs.glob("*/checkpoint_*")):
        assert time.monotonic() < end
        time.sleep(0.01)
    training.process.send_signal(signal.SIGINT)
    ended = training.end(SECONDS)
    assert ended.said.count("interrupted: after step") == 1, ended.said
    (run_dir,) = outputs.iterdir()
    assert metrics_of(run_dir)["status"] == "interrupted"
    last = max(run_dir.glob("checkpoint_*"))
    assert int(last.name.split("_")[1]) == metrics_of(run_dir)["steps"]
    again = Torchrun(tmp_path, "mnist_cnn", [*words, "trainer.resume=latest"]).end()
    assert again.status == 0, again.said
    assert [path.name for path in outputs.iterdir()] == [run_dir.name]
    trained(context, 1, tmp_path, "mnist_cnn", LONG)
    assert_same_steps(tmp_path / "1", run_dir, TOLERANCE["float64"])


@pytest.mark.slow
def test_an_error_is_said_once(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").touch()
    ended = Torchrun(tmp_path, "mnist_cnn", [*CNN, f"hydra.run.dir={tmp_path}"]).end()
    assert ended.status == 1
    assert ended.said.count("error: ") == 1, ended.said
    assert "holds a run already" in ended.said
    ended = Torchrun(tmp_path, "mnist_cnn", [*CNN, "optimizer.lr=1e30"]).end()
    assert ended.said.count("error: ") == 1, ended.said
    assert "try a smaller optimizer.lr" in ended.said


@contextlib.contextmanager
def two_networks(name: str) -> Iterator[tuple[str, str]]:
    """Two network namespaces, `name`0 and `name`1, and a cable between them.

    Gives the address in the first, and the name of the interface in both.
    """

    def ip(*words: str) -> None:
        done = subprocess.run(["ip", *words], capture_output=True, text=True)
        if done.returncode:
            raise OSError(done.stderr)

    try:
        for end in ("0", "1"):
            ip("netns", "add", f"{name}{end}")
        ip(
            "link",
            "add",
            "cable",
            "netns",
            f"{name}0",
            "type",
            "veth",
            "peer",
            "name",
            "cable",
            "netns",
            f"{name}1",
        )
        for end in ("0", "1"):
            ip("-n", f"{name}{end}", "address", "add", f"10.99.99.{end}/31", "dev", "cable")
            ip("-n", f"{name}{end}", "link", "set", "cable", "up")
            ip("-n", f"{name}{end}", "link", "set", "lo", "up")
        yield "10.99.99.0", "cable"
    finally:
        for end in ("0", "1"):
            subprocess.run(["ip", "netns", "delete", f"{name}{end}"], capture_output=True)


def two_nodes(folder: Path, words: Sequence[str], address: str, interface: str, name: str) -> None:
    """Train on two nodes with two and one process, each with a folder of its own."""
    port = free_port()
    started = []
    for node, count in ((0, 2), (1, 1)):
        own = folder / f"node_{node}"
        own.mkdir()
        before = ["ip", "netns", "exec", f"{name}{node}"] if name else []
        options = ["--nnodes=2", f"--node-rank={node}", f"--master-addr={address}", f"--master-port={port}"]
        environment = {"GLOO_SOCKET_IFNAME": interface}
        started.append(Torchrun(own, "mnist_cnn", words, count, before, options, environment))
    ended = [one.end() for one in started]
    assert [one.status for one in ended] == [0, 0], ended
    (run_dir,) = (folder / "node_0" / "outputs" / "mnist_cnn").iterdir()
    assert not (folder / "node_1" / "outputs").exists()
    run_dir.rename(folder / "run")


@pytest.mark.slow
@pytest.mark.parametrize("place", ["two networks", "loopback"])
def test_two_nodes_take_the_same_steps(place: str, context: ForkServerContext, tmp_path: Path) -> None:
    words = [*CNN, "trainer.precision=float64"]
    trained(context, 1, tmp_path, "mnist_cnn", words)
    if place == "loopback":
        two_nodes(tmp_path, words, "127.0.0.1", "lo", name="")
    else:
        name = f"suite{os.getpid()}_"
        with contextlib.ExitStack() as made:
            try:
                address, interface = made.enter_context(two_networks(name))
            except OSError as error:
                pytest.skip(f"network namespaces cannot be made here: {error}")
            two_nodes(tmp_path, words, address, interface, name)
    assert_same_steps(tmp_path / "1", tmp_path / "run", TOLERANCE["float64"])
    assert metrics_of(tmp_path / "run")["hardware"]["processes"] == 3
