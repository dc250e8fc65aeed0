"""A resumed run has the bits of an uninterrupted one; what does not belong to a run is refused."""

import contextlib
import csv
import errno
import fcntl
import itertools
import json
import os
import pickle
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from apps.mnist_cnn.config import Config
from apps.mnist_cnn.data import augmentation, load_data, split
from apps.mnist_cnn.train import build_learner
from shared.distributed import print_once
from shared.errors import ConfigError, DataError, Interrupted, TrainingDiverged
from shared.files import write_atomically
from shared.runs import folder as run_folder
from shared.runs import resume as resuming
from shared.runs.folder import RunFolder
from shared.runs.resume import is_locked
from shared.training import checkpoint
from shared.training.loop import fit
from shared.training.run_state import save_weights
from shared.training.schedule import learning_rates
from tests.forks import Forks
from tests.helpers import at_step, crash, ctrl_c, mnist_config, take_steps, trained

STEPS = 8  # of four batches an epoch, the last one smaller
SMALL = "data.train_limit=226 trainer.batch_size=50 trainer.epochs=2 trainer.threads=1 data.shift=1"
CNN = ["model=cnn", "model.channels=[2,3]", "model.hidden=8"]  # with dropout
FAST_CNN = ["model=fast_cnn", "model.channels=[2,3]", "model.hidden=8"]  # with running statistics
MLP = ["model=mlp", "model.hidden=[6,5]", "framework=numpy"]


VERSIONS = {"numpy": "2"}  # what a run notes


def small(run_dir: Path, *overrides: str) -> Config:
    return mnist_config(run_dir, *SMALL.split(), *overrides)


@cache
def data_of(seed: int) -> Any:
    config = small(Path("unused"), f"seed={seed}")
    images = load_data(config)
    return images.sha256, split(images, config)


def train(config: Config) -> Path:
    """Train as the application does, without charts; return the run folder."""
    digest, (train_set, validation_set, _) = data_of(config.seed)
    run = RunFolder.open(config)
    run.metrics |= {"dataset_sha256": digest, "model": config.model.name, "versions": dict(VERSIONS)}
    with run.session():
        learner = build_learner(config)
        fit(learner, train_set, validation_set, config, run, augmentation(config))
        save_weights(learner, run)
    return run.path


def resume(run_dir: Path, *overrides: str) -> Path:
    return train(small(run_dir, *MLP, *overrides, f"trainer.resume={run_dir}"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of the MLP that nothing interrupted."""
    return train(small(tmp_path_factory.mktemp("whole"), *MLP))


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return tmp_path / "run"


def without_seconds(value: Any) -> Any:
    """Return metrics or a row without the keys that may differ, at any depth."""
    if not isinstance(value, dict):
        return value
    assert all(float(v) > 0 for k, v in value.items() if k.endswith("seconds"))
    return {k: without_seconds(v) for k, v in value.items() if not k.endswith("seconds") and k != "resumed"}


def assert_same_files(one: Path, other: Path) -> None:
    """Compare every file of two run folders, including subfolders, except for seconds."""
    names = {path.relative_to(one) for path in one.rglob("*.*") if path.is_file()}
    assert {path.relative_to(other) for path in other.rglob("*.*") if path.is_file()} == names
    for name in names:
        if name.suffix in (".safetensors", ".txt") or name.name == "steps.csv":
            assert (one / name).read_bytes() == (other / name).read_bytes(), name
        elif name.name == "metrics.json":
            first, second = (json.loads((path / name).read_text()) for path in (one, other))
            assert without_seconds(first) == without_seconds(second)
        elif name.suffix == ".csv":
            first, second = (list(csv.DictReader((path / name).open())) for path in (one, other))
            assert [without_seconds(row) for row in first] == [without_seconds(row) for row in second], name


def stop(
    monkeypatch: pytest.MonkeyPatch,
    run_dir: Path,
    *overrides: str,
    after: int = 5,
    action: Callable[[], object] = ctrl_c,
    error: type[BaseException] = Interrupted,
) -> pytest.ExceptionInfo[BaseException]:
    """Train and stop in the middle of a step."""
    with monkeypatch.context() as patch:
        at_step(patch, after, action)
        with pytest.raises(error) as found:
            train(small(run_dir, *overrides))
    return found


def checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("checkpoint_*"))


def steps_of(folder: Path) -> list[int]:
    return [int(path.name.split("_")[1]) for path in checkpoints(folder)]


@pytest.mark.parametrize(
    ("framework", "model", "stops"),
    [
        ("torch", CNN, [3, 6]),  # both within an epoch
        ("torch", [*CNN, "trainer.precision=bfloat16"], [5]),
        ("numpy", CNN, [3, 4]),
        ("torch", FAST_CNN, [4]),
        ("numpy", FAST_CNN, [4]),
        pytest.param("keras", CNN, [3, 4], marks=pytest.mark.slow),
        pytest.param("keras", FAST_CNN, [3, 6], marks=pytest.mark.slow),
    ],
)
def test_a_run_resumed_after_ctrl_c_has_the_same_bits(
    framework: str, model: list[str], stops: list[int], run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = [f"framework={framework}", *model]
    whole = train(small(run_dir.parent / "whole", *overrides))
    again: list[str] = []
    for done, last in itertools.pairwise([0, *stops]):
        stop(monkeypatch, run_dir, *overrides, *again, after=last - done)
        again = [f"trainer.resume={run_dir}"]
    assert steps_of(run_dir) == stops[-2:]
    assert json.loads((run_dir / "metrics.json").read_text())["status"] == "interrupted"
    train(small(run_dir.parent / "unused", *overrides, *again))
    assert_same_files(run_dir, whole)
    assert json.loads((run_dir / "metrics.json").read_text())["resumed"] == len(stops)
    assert "resumed" not in json.loads((whole / "metrics.json").read_text())


@pytest.mark.parametrize("framework", ["torch", "numpy", pytest.param("keras", marks=pytest.mark.slow)])
def test_early_stopping_resumes_with_the_best_weights_so_far(
    framework: str, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = [f"framework={framework}", *FAST_CNN, "trainer.schedule=constant", "optimizer.lr=0.1"]
    early = [*overrides, "trainer.epochs=30", "trainer.patience=3"]
    whole = train(small(run_dir.parent / "whole", *early))
    metrics = json.loads((whole / "metrics.json").read_text())
    best, last = metrics["best_epoch"], metrics["epochs"]
    assert 1 < best == last - 3 < 27, "it stops early"
    again: list[str] = []
    # in the epoch after the best one, and in the last step, whose epoch is validated after resuming
    for done, after in itertools.pairwise([0, 4 * best + 1, 4 * last]):
        stop(monkeypatch, run_dir, *early, *again, after=after - done)
        again = [f"trainer.resume={run_dir}"]
    train(small(run_dir.parent / "unused", *early, *again))
    assert_same_files(run_dir, whole)
    shorter = train(small(run_dir.parent / "shorter", *overrides, f"trainer.epochs={best}"))
    name = "weights.safetensors"
    assert (shorter / name).read_bytes() == (whole / name).read_bytes(), "the weights of the best epoch"


OPTIMIZERS = ["sgd", "momentum", "rmsprop", "adagrad", "adam", "adamw"]
FORMULAS = [
    ("torch", "torch"),
    ("numpy", "torch"),
    ("numpy", "keras"),
    ("keras", "torch"),
    ("keras", "keras"),
]


@pytest.mark.parametrize(
    ("framework", "formula", "optimizer"),
    [
        pytest.param(*formula, name, marks=[pytest.mark.slow] if formula[0] == "keras" else [])
        for formula in FORMULAS
        for name in OPTIMIZERS
        if name != "sgd" or formula[1] == "torch"  # SGD has one formula
    ],
)
def test_optimizers_and_dropout_continue_from_a_checkpoint(
    framework: str, formula: str, optimizer: str, tmp_path: Path
) -> None:
    own = [] if optimizer == "sgd" else [f"optimizer.formula={formula}"]
    overrides = [*CNN, f"framework={framework}", f"optimizer={optimizer}", *own]
    train_set = data_of(0)[1][0]
    batches = np.arange(150).reshape(6, 25)
    steps = list(zip(batches, learning_rates("one_cycle", 0.01, 6, np.arange(6)), strict=True))
    one, other = (build_learner(small(tmp_path, *overrides, f"seed={n}")) for n in (0, 1))
    list(take_steps(one, train_set, steps[:3]))
    path = tmp_path / "state"
    path.write_bytes(checkpoint.pack(*one.state()))
    name = f"checkpoint_000000003_{sha256(path.read_bytes()).hexdigest()[:16]}.safetensors"
    path.rename(tmp_path / name)
    expected = list(take_steps(one, train_set, steps[3:]))  # first: torch has one global generator
    other.load_state(*checkpoint.read(tmp_path / name))
    assert list(take_steps(other, train_set, steps[3:])) == expected
    for name, weight in one.weights().items():
        np.testing.assert_array_equal(weight, other.weights()[name], err_msg=name)


def press_twice() -> None:
    ctrl_c()
    ctrl_c()
    pytest.fail("the step was finished")


FROM_THE_START = "there is no checkpoint yet: starting from the first step"


@pytest.mark.parametrize(
    ("words", "action", "error", "kept", "message"),
    [
        (["trainer.checkpoint_seconds=0"], crash, ZeroDivisionError, [4, 5], "resuming after step 5 of 8"),
        ([], crash, ZeroDivisionError, [], FROM_THE_START),
        ([], press_twice, Interrupted, [], FROM_THE_START),  # nothing is saved within a step
    ],
    ids=["crash", "crash without a checkpoint", "second Ctrl-C"],
)
def test_resuming_continues_from_the_last_checkpoint(
    words: list[str],
    action: Callable[[], object],
    error: type[BaseException],
    kept: list[int],
    message: str,
    whole: Path,
    run_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stop(monkeypatch, run_dir, *MLP, *words, after=6, action=action, error=error)
    assert steps_of(run_dir) == kept
    resume(run_dir)
    assert message in capsys.readouterr().out
    assert_same_files(run_dir, whole)


def test_ctrl_c_does_not_wait_for_the_validation(
    whole: Path, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("shared.training.loop.evaluate", lambda *_: ctrl_c())
        with pytest.raises(Interrupted, match="after step 4;"):
            train(small(run_dir, *MLP))
    resume(run_dir)
    assert_same_files(run_dir, whole)


@pytest.mark.parametrize("place", ["steps.csv", "afterwards"])
def test_ctrl_c_after_the_last_step_loses_no_step(
    place: str, whole: Path, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the rows of all steps are written, or afterwards."""
    write_rows = RunFolder.write_rows

    def interrupted(run: RunFolder, name: str) -> None:
        write_rows(run, name)
        if name == "steps.csv":
            ctrl_c()

    with monkeypatch.context() as patch:
        if place == "steps.csv":
            patch.setattr(RunFolder, "write_rows", interrupted)
        else:
            patch.setattr(f"{__name__}.save_weights", lambda *given: ctrl_c())
        with pytest.raises(Interrupted, match=f"^after step {STEPS}$"):
            train(small(run_dir, *MLP))
    assert steps_of(run_dir) == [STEPS]
    assert (run_dir / "weights.safetensors").exists()
    at_step(monkeypatch, 1, crash)
    resume(run_dir)
    assert_same_files(run_dir, whole)


def with_two_checkpoints(monkeypatch: pytest.MonkeyPatch, run_dir: Path) -> tuple[Path, Path]:
    stop(monkeypatch, run_dir, *MLP, "trainer.checkpoint_seconds=0")
    before, last = checkpoints(run_dir)
    return before, last


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize("harm", [damage, cut])
def test_a_damaged_checkpoint_is_reported_and_the_previous_one_used(
    harm: Callable[[Path], None],
    whole: Path,
    run_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, last = with_two_checkpoints(monkeypatch, run_dir)
    harm(last)
    resume(run_dir)
    output = capsys.readouterr()
    assert f"{last} is damaged or another file" in output.err
    assert f"resuming after step 4 of {STEPS}" in output.out
    assert_same_files(run_dir, whole)


def test_two_damaged_checkpoints_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in with_two_checkpoints(monkeypatch, tmp_path):
        damage(path)
    with pytest.raises(DataError, match="all checkpoints are damaged; train again"):
        resume(tmp_path)


class Hostile:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.path, "code was run")


def test_a_hostile_checkpoint_runs_no_code(
    tmp_path: Path, run_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = tmp_path / "trace"
    with_two_checkpoints(monkeypatch, run_dir)
    content = pickle.dumps(Hostile(trace))
    name = f"checkpoint_000000007_{sha256(content).hexdigest()[:16]}.safetensors"
    (run_dir / name).write_bytes(content)
    resume(run_dir)
    said = capsys.readouterr()
    assert f"{name} is not a checkpoint" in said.err
    assert f"resuming after step 5 of {STEPS}" in said.out
    assert not trace.exists()
    pickle.loads(content)
    assert trace.exists(), "it would have been noticed"


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, hidden in (("a", "[6,5]"), ("b", "[5,6]")):
        overrides = [*MLP, f"model.hidden={hidden}"]
        stop(monkeypatch, tmp_path / name, *overrides)
    (taken,) = checkpoints(tmp_path / "a")
    for path in checkpoints(tmp_path / "b"):
        path.unlink()
    taken.rename(tmp_path / "b" / taken.name)
    with pytest.raises(DataError, match=r"written with another configuration: model\.hidden"):
        train(small(tmp_path, *overrides, f"trainer.resume={tmp_path / 'b'}"))


def disk_full_for(monkeypatch: pytest.MonkeyPatch, is_refused: Callable[[str], bool]) -> None:
    def write(path: Path, content: bytes) -> None:
        if is_refused(path.name):
            raise OSError(errno.ENOSPC, "No space left on device")
        write_atomically(path, content)

    monkeypatch.setattr(run_folder, "write_atomically", write)


def test_a_full_disk_prevents_only_the_checkpoint(
    whole: Path, run_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    disk_full_for(monkeypatch, lambda name: name.startswith("checkpoint_"))
    train(small(run_dir, *MLP, "trainer.checkpoint_seconds=0"))
    assert "warning: no checkpoint was written: cannot write" in capsys.readouterr().err
    assert_same_files(run_dir, whole)


def test_ctrl_c_works_on_a_full_disk(
    whole: Path, run_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        disk_full_for(patch, lambda name: "config.yaml" not in name)
        at_step(patch, 3, ctrl_c)
        with pytest.raises(Interrupted, match=r"not everything could be written.*No space") as found:
            train(small(run_dir, *MLP))
    assert found.value.folder == run_dir
    assert "warning: no checkpoint was written: cannot write" in capsys.readouterr().err
    assert [path.name for path in run_dir.iterdir()] == ["config.yaml"]
    resume(run_dir)
    assert_same_files(run_dir, whole)


def test_other_data_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop(monkeypatch, tmp_path, *MLP)
    _, sets = data_of(0)
    monkeypatch.setitem(globals(), "data_of", lambda seed: ("0123", sets))
    with pytest.raises(DataError, match="with other data: dataset_sha256 is 0123 and was "):
        resume(tmp_path)
    assert checkpoints(tmp_path), "the right data can still go on"


def test_another_configuration_is_refused_with_its_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop(monkeypatch, tmp_path, *MLP)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ConfigError) as error:
        resume(tmp_path, "seed=1", "model.hidden=[6,6]")
    assert str(error.value) == (
        f"{tmp_path} cannot be resumed with another configuration: seed=1 (there 0), "
        "model.hidden=[6, 6] (there [6, 5])"
    )
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_run_of_a_version_without_the_newer_keys_resumes(
    whole: Path, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = resuming.compared_values(small(run_dir, *MLP))
    del values["optimizer.l1"], values["trainer.patience"]
    with monkeypatch.context() as patch:
        patch.setattr(resuming, "compared_values", lambda config: values)
        stop(monkeypatch, run_dir, *MLP)
    text = (run_dir / "config.yaml").read_text()
    for line in ("  l1: 0.0\n", "  patience: null\n"):
        assert line in text
        text = text.replace(line, "")
    (run_dir / "config.yaml").write_text(text)
    resume(run_dir)
    assert_same_files(run_dir, whole)


@pytest.mark.slow
def test_the_folder_of_a_run_is_enough_to_resume_it(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, forks: Forks
) -> None:
    stop(monkeypatch, run_dir, *MLP, "data.shift=0")
    refused = "cannot be resumed with another configuration: "
    for word, message in (
        ("seed=1", f"{refused}seed=1 (there 0)"),
        ("data.shift=1", f"{refused}data.shift=1 (there 0)"),
        ("trainer.epochs=5", f"{refused}trainer.epochs=5 (there 2)"),
        ("model=cnn", f"{refused}model.name=cnn (there mlp), "),
        ("+experiment=a12", "+experiment=a12: a run is resumed with its own configuration; leave this out"),
        ("~pixels", "~pixels: a run is resumed with its own configuration; leave this out"),
        ("", "resuming after step 5 of 8"),
        ("trainer.epochs=5", "this run is done; to train for more epochs, start a new run"),
    ):
        result = forks.run("apps.mnist_cnn", f"trainer.resume={run_dir}", *word.split())
        assert message in result.stdout + result.stderr
        assert (result.returncode == 0) == (word == ""), result.stderr
    train(small(run_dir.parent / "whole", *MLP, "data.shift=0"))
    assert (run_dir / "steps.csv").read_text() == (run_dir.parent / "whole/steps.csv").read_text()


def test_a_moved_run_resumes_with_other_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stop(monkeypatch, tmp_path / "a", *MLP)
    (tmp_path / "a").rename(tmp_path / "b")
    others = ["trainer.threads=2", "trainer.checkpoint_seconds=null", f"trainer.resume={tmp_path / 'b'}"]
    train(small(tmp_path / "c", *MLP, *others))
    assert f"resuming after step 5 of {STEPS}" in capsys.readouterr().out
    assert not (tmp_path / "c").exists()


def test_other_versions_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stop(monkeypatch, tmp_path, *MLP)
    assert capsys.readouterr().err == ""
    monkeypatch.setitem(VERSIONS, "numpy", "3")
    print_once.cache_clear()
    resume(tmp_path)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: versions changed since the checkpoint was written: the bits may differ")


def diverge() -> None:
    raise TrainingDiverged("the loss is nan")


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (lambda: None, "this run is done; to train for more epochs, start"),
        (diverge, "this run diverged, and would diverge again"),
    ],
)
def test_a_run_that_has_ended_cannot_be_resumed(
    action: Callable[[], None], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_step(monkeypatch, 3, action)
    with contextlib.suppress(TrainingDiverged):
        train(small(tmp_path, *MLP, "trainer.checkpoint_seconds=0"))
    assert not checkpoints(tmp_path), "they are deleted at the end"
    with pytest.raises(ConfigError, match=message):
        resume(tmp_path)


def test_a_run_in_progress_cannot_be_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop(monkeypatch, tmp_path, *MLP)
    config = small(tmp_path, *MLP, f"trainer.resume={tmp_path}")
    running = RunFolder.open(config)
    with pytest.raises(ConfigError, match="still running, in another process"):
        RunFolder.open(config)
    with running.session():
        pass
    with pytest.raises(ConfigError, match="this run is done"):
        RunFolder.open(config)


def test_latest_is_the_newest_interrupted_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = small(Path("unused"), *MLP, "trainer.resume=latest")
    with pytest.raises(ConfigError, match="latest: no run in outputs/mnist_cnn was interrupted"):
        train(config)
    runs = [Path("outputs", "mnist_cnn", name) for name in ("b", "a", "done", "now", "failed")]
    for path in runs[:2]:
        stop(monkeypatch, path, *MLP)
    train(small(runs[2], *MLP))
    stop(monkeypatch, runs[4], *MLP, action=crash, error=ZeroDivisionError)
    now = RunFolder.open(small(runs[3], *MLP))
    assert train(config) == runs[1]
    assert train(config) == runs[0]
    with pytest.raises(ConfigError, match="no run in outputs/mnist_cnn was interrupted"):
        train(config)
    assert now.path == runs[3]


def test_two_processes_may_look_for_the_latest_run_at_once(tmp_path: Path) -> None:
    run = RunFolder.open(small(tmp_path, *MLP))
    assert is_locked(tmp_path)
    with run.session():
        pass
    other = run_folder.lock_folder(tmp_path, fcntl.LOCK_SH)
    assert not is_locked(tmp_path)
    os.close(other)


def test_a_wrong_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere is not a run folder"):
        train(small(tmp_path, *MLP, f"trainer.resume={tmp_path / 'nowhere'}"))
    (tmp_path / "config.yaml").write_text("app: xor\nframework: torch\nseed: 0\n")
    with pytest.raises(ConfigError, match="is a run of xor, not of mnist_cnn"):
        resume(tmp_path)


ATTENTION = ["debug=smoke", "data=recall", "data.train_limit=128", "trainer.epochs=1"]
RESNET = ["debug=smoke", "data=digit_pictures", "data.size=32", "source.per_class=20"]


def train_app(app: str, run_dir: Path, *overrides: str) -> None:
    cache = [f"cache={run_dir}_cache"] if app == "resnet_transfer" else []
    trained(app, run_dir, "framework=torch", "trainer.threads=1", *overrides, *cache)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("app", "overrides", "stops"),
    [
        ("xor", ["debug=smoke", "trainer.max_steps=9"], [4]),
        ("imdb_rnn", ["debug=smoke", "data=reviews", "model=lstm"], [3]),
        ("imdb_rnn", ["debug=smoke", "data=reviews", "model=bow", "framework=numpy"], [3]),
        ("imdb_rnn", ["debug=smoke", "data=reviews", "model=rnn", "framework=keras"], [3]),
        ("attention", ATTENTION, [1, 2]),  # there are two trainings of two steps
        ("attention", ATTENTION, [3]),
        ("resnet_transfer", [*RESNET, "trainer.max_steps=null"], [2, 5, 2]),  # the source task too
        (
            "resnet_transfer",
            [*RESNET, "transfer.unfreeze_every=1", "trainer.max_steps=null", "trainer.epochs=4"],
            [12, 12],
        ),
        ("resnet_transfer", [*RESNET, "transfer.mode=frozen"], [7]),
        ("resnet_transfer", [*RESNET, "transfer.mode=compare", "framework=numpy"], [8, 6]),
    ],
)
def test_every_application_resumes(
    app: str, overrides: list[str], stops: list[int], run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_dir.parent / "whole"
    train_app(app, whole, *overrides)
    again: list[str] = []
    for steps in stops:  # of this process, in whichever training they fall
        with monkeypatch.context() as patch:
            at_step(patch, steps, ctrl_c)
            with pytest.raises(Interrupted) as interrupt:
                train_app(app, run_dir, *overrides, *again)
        assert interrupt.value.folder == run_dir, "the folder of the whole run"
        again = [f"trainer.resume={run_dir}"]
    train_app(app, run_dir, *overrides, *again)
    assert_same_files(whole, run_dir)
