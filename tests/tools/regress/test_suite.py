"""Cases, baselines, and the processes that train; most tests replace the training by scripted answers."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from accuracy_gate import Results
from accuracy_gate.cli import main as accuracy_gate_command
from shared.errors import ConfigError, DataError, TrainingDiverged
from shared.training.numpy_learner import NumpyLearner
from tests.helpers import ROOT
from tools.regress import baselines, cases, suite
from tools.regress.__main__ import main
from tools.regress.cases import BASELINES, Case, Variant, case_names, load_case, load_variants, select_cases
from tools.regress.suite import Worker
from tools.regress.worker import run as run_seed

Answer = Callable[[str, str, int], dict[str, Any]]

TINY = {
    "app": "xor",
    "overrides": ["framework=numpy", "corrections=false", "trainer.epochs=1", "data.repeats=20"],
    "real": [],
    "embedded": None,
}
DIGITS = {
    "app": "mnist_cnn",
    "overrides": ["framework=numpy", "model=mlp", "trainer.threads=1"],
    "real": ["data=mnist", "data.fallback=null"],
    "embedded": ["data=digits"],
}


def honest(case: str, source: str, seed: int, accuracy: float = 0.97) -> dict[str, Any]:
    """Return a worker's answer for an honest run."""
    random = np.random.default_rng([seed, len(case), len(source)])
    metrics = {
        "dataset": "mnist" if source == "real" else "digits",
        "dataset_sha256": source,
        "embedded": source == "embedded",
        "test_examples": 10_000,
        "test_accuracy": int(random.binomial(10_000, accuracy)) / 10_000,
        "test_loss": 0.1 * float(random.gamma(100)) / 100,
        "train_seconds": 1.5,
        "versions": {"numpy": "2"},
        "hardware": {"cpu": "C"},
    }
    return {"seed": seed, "status": "done", "metrics": metrics}


def no_data(case: str, source: str, seed: int) -> dict[str, Any]:
    """Return a worker's answer on a machine that has only the embedded sample."""
    if source == "real":
        return {"seed": seed, "status": "no data", "error": "MNIST is nowhere"}
    return honest(case, source, seed)


class Bench:
    """A folder of cases, one of baselines, and workers with scripted answers."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.answer: Answer = honest
        self.requests: list[tuple[str, str, int]] = []
        self.outs = 0
        (folder / "cases").mkdir()
        monkeypatch.setattr(cases, "FOLDER", folder / "cases")
        monkeypatch.setattr(cases, "BASELINES", folder / "baselines")
        bench = self

        class ScriptedWorker:
            def __init__(self, variant: Variant, out: Path, root: Path) -> None:
                self.words = variant.name, variant.source

            def __enter__(self) -> "ScriptedWorker":
                return self

            def __exit__(self, *_: object) -> None: ...

            def run(self, seed: int) -> dict[str, Any]:
                bench.requests.append((*self.words, seed))
                return bench.answer(*self.words, seed)

        monkeypatch.setattr(suite, "Worker", ScriptedWorker)
        clean = {"commit": "c0ffee", "dirty": False}
        monkeypatch.setattr(baselines, "git_state", lambda _: clean)

    def case(self, name: str, content: dict[str, Any]) -> None:
        (self.folder / "cases" / f"{name}.yaml").write_text(json.dumps(content))

    def run(self, *words: str) -> int:
        self.requests.clear()
        self.outs += 1
        return main([f"out={self.out}", *words])

    @property
    def out(self) -> Path:
        return self.folder / str(self.outs)

    def report(self) -> dict[str, dict[str, Any]]:
        """Return the cases of regress.json."""
        content = json.loads((self.out / "regress.json").read_text())
        return {case["case"]: case for case in content["cases"]}


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    yield Bench(tmp_path, monkeypatch)
    suite.stopped.clear()


@pytest.fixture
def blessed(bench: Bench) -> Bench:
    """One case with its baseline."""
    bench.case("one", DIGITS)
    assert bench.run("--bless", "case=one") == 0
    return bench


def worse(case: str, source: str, seed: int) -> dict[str, Any]:
    return honest(case, source, seed, accuracy=0.95)


@pytest.fixture(scope="module")
def variants() -> list[Variant]:
    return [variant for name in case_names() for variant in load_variants(name, ("real", "embedded"))]


def test_every_application_accepts_its_cases(variants: list[Variant]) -> None:
    for variant in variants:
        config = variant.config
        assert variant.name == f"{variant.case.app}_{config['framework']}"
        assert config["trainer"]["threads"] == 1, "the same results on any number of cores"
        assert config["trainer"]["precision"] != "auto"
        assert config["data"].get("fallback") is None, "a case must not fall back to a sample by itself"
        assert not {"seed", "run_dir"} & config.keys()
    names, apps = case_names(), {variant.case.app for variant in variants}
    assert set(names) == {f"{app}_{framework}" for app in apps for framework in ("torch", "keras", "numpy")}
    assert {load_case(name).app for name in select_cases("short")} == apps


def test_recorded_baselines_are_valid_and_belong_to_their_cases(variants: list[Variant]) -> None:
    recorded = [variant for variant in variants if variant.baseline_path.is_file()]
    assert {variant.baseline_path for variant in recorded} == set(BASELINES.glob("*/*.json"))
    for variant in recorded:
        record = baselines.read_baseline(variant)
        assert record
        generated = record.facts["embedded"] or record.facts["dataset"] == "recall"
        assert generated == (variant.source == "embedded")
        assert record.facts["config"] == variant.config
        assert not record.notes["git"]["dirty"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"ap": 1}, "unknown key 'ap' (did you mean 'app'?)"),
        ({"looks": [5, 3]}, "looks=[5, 3] must rise"),
        ({"looks": [3, 30]}, "must rise and end at 20 or below"),
        ({"looks": [1]}, "looks=[1] are too few seeds ever to fail"),
        ({"overrides": ["trainer.epoch=1"]}, "one.yaml, real data: "),
        ({"overrides": ["framework=jax"]}, "framework should be 'torch'"),
        ({"real": "data=mnist"}, "real should be a valid list"),
    ],
)
def test_a_wrong_case_is_refused_before_anything_runs(
    change: dict[str, Any], reason: str, bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.case("one", TINY | change)
    assert bench.run() == 2
    assert reason in capsys.readouterr().err
    assert bench.requests == []


def test_bless_then_regress_is_identical_and_takes_three_seeds(bench: Bench) -> None:
    bench.case("one", DIGITS)
    assert bench.run() == 2
    assert "record one with make bless case=one" in bench.report()["one"]["reason"]
    assert not (bench.folder / "baselines").exists(), "only bless writes them"
    assert bench.run("--bless", "case=one") == 0
    content = json.loads((bench.folder / "baselines" / "real" / "one.json").read_text())
    assert [run["seed"] for run in content["runs"]] == list(range(20))
    assert content["notes"]["git"] == {"commit": "c0ffee", "dirty": False}
    assert {"versions", "hardware", "recorded"} <= content["notes"].keys()
    assert {"config", "dataset_sha256"} <= content["facts"].keys()
    assert bench.run() == 0
    assert bench.report()["one"]["verdict"] == "identical"
    assert bench.requests == [("one", "real", seed) for seed in range(3)]


def test_bless_prints_old_against_new(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.case("one", DIGITS)
    bench.run("--bless", "case=one")
    assert "one: the first baseline, 20 seeds" in capsys.readouterr().out
    bench.answer = worse
    assert bench.run("--bless", "case=one", "seeds=22") == 0
    said = capsys.readouterr().out
    assert "commit c0ffee, 20 seeds) -> new (22 seeds)" in said
    assert "accuracy  0.97" in said
    assert "-> 0.95" in said
    assert bench.run() == 0
    assert bench.report()["one"]["verdict"] == "identical"


def test_bless_records_nothing_of_a_case_with_a_failed_run(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.case("bad", DIGITS)
    bench.case("good", DIGITS)
    failed = {"seed": 5, "status": "diverged", "error": "nan"}
    bench.answer = lambda *words: failed if words[0] == "bad" and words[2] == 5 else honest(*words)
    assert bench.run("--bless", "case=bad,good", "jobs=1") == 2
    assert "bad: nothing recorded: seed 5: diverged: nan" in capsys.readouterr().err
    assert len(bench.requests) == 6 + 20
    assert [path.name for path in (bench.folder / "baselines").rglob("*.json")] == ["good.json"]


def test_bless_requires_committed_code(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.case("one", DIGITS)
    monkeypatch.setattr(baselines, "git_state", lambda _: {"commit": "0", "dirty": True})
    assert bench.run("--bless", "case=one") == 2
    assert "commit your changes" in capsys.readouterr().err
    assert bench.requests == []


def test_a_regression_fails_with_status_5_and_the_others_are_still_run(bench: Bench) -> None:
    bench.case("bad", DIGITS)
    bench.case("good", DIGITS)
    bench.run("--bless", "case=all")
    bench.answer = lambda case, *words: (worse if case == "bad" else honest)(case, *words)
    assert bench.run() == 5
    report = bench.report()
    assert (report["bad"]["verdict"], report["good"]["verdict"]) == ("regression", "identical")
    assert len(report["bad"]["results"]["runs"]) == 5, "as soon as it is clear"


@pytest.mark.parametrize(
    ("seed", "status", "error"),
    [(0, "failed", "the process ended with status -9"), (1, "no data", "MNIST is nowhere")],
)
def test_a_run_that_fails_ends_its_case_at_once(seed: int, status: str, error: str, blessed: Bench) -> None:
    failed = {"seed": seed, "status": status, "error": error}
    blessed.answer = lambda *words: honest(*words) if words[2] < seed else failed
    assert blessed.run() == 5
    assert blessed.report()["one"]["reason"] == f"seed {seed}: {status}: {error}"
    assert len(blessed.requests) == seed + 1


def test_real_and_embedded_data_have_separate_baselines(blessed: Bench) -> None:
    blessed.answer = no_data
    assert blessed.run() == 2, "the real baseline says nothing about the embedded sample"
    assert "record one with make bless case=one data=embedded" in (blessed.report()["one.embedded"]["reason"])
    assert blessed.run("--bless", "case=one") == 0
    assert blessed.run() == 0
    report = blessed.report()["one.embedded"]
    assert report["verdict"] == "identical"
    assert report["notes"] == ["on the embedded sample instead: MNIST is nowhere"]
    assert blessed.run("data=real") == 3
    blessed.answer = lambda case, _, seed: honest(case, "embedded", seed)
    assert blessed.run("data=real") == 2, "a sample that poses as the real data"
    assert 'dataset: "mnist" -> "digits"' in blessed.report()["one"]["reason"]


def test_a_case_without_an_embedded_sample_always_runs_on_its_data(bench: Bench) -> None:
    bench.case("one", TINY)
    assert bench.run("--bless", "case=one") == 0
    assert bench.run("data=embedded") == 0
    assert bench.report()["one"]["verdict"] == "identical"


def test_another_configuration_is_refused_without_training(blessed: Bench) -> None:
    blessed.case("one", DIGITS | {"overrides": [*DIGITS["overrides"], "optimizer.lr=0.1"]})
    assert blessed.run() == 2
    assert "config.optimizer.lr: 0.002 -> 0.1" in blessed.report()["one"]["reason"]
    assert blessed.requests == []


def test_raw_results_are_written_before_the_verdict(
    blessed: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(_: object, new: Results, __: object) -> None:
        if len(new.runs) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(suite, "look", interrupt)
    capsys.readouterr()
    assert blessed.run() == 130
    assert capsys.readouterr().err == "interrupted\n"
    (case,) = json.loads((blessed.out / "results.json").read_text())["cases"]
    assert [(run["seed"], run.get("status")) for run in case["runs"]] == [(0, None), (1, None), (2, None)]
    assert not (blessed.out / "regress.json").exists()


def test_raw_results_can_be_decided_again(blessed: Bench) -> None:
    blessed.answer = worse
    blessed.run()
    baseline, results = blessed.folder / "baselines" / "real" / "one.json", blessed.out / "results.json"
    assert accuracy_gate_command(["compare", str(baseline), str(results)]) == 5


def test_make_runs_the_commands() -> None:
    targets = (ROOT / "Makefile").read_text()
    assert "-m tools.regress $(OVERRIDES)" in targets
    assert "-m tools.regress --bless $(OVERRIDES)" in targets


def start_worker(folder: Path, content: dict[str, Any]) -> Worker:
    variant = Variant("tiny", "real", Case.model_validate(content), {})
    return Worker(variant, folder / "out", ROOT)


def test_a_worker_answers_until_it_ends_or_hangs(tmp_path: Path) -> None:
    with start_worker(tmp_path, TINY) as worker:
        first = worker.run(0)
        worker.process.kill()
        killed = worker.run(1)
    assert first["status"] == "done", first
    assert 0 <= first["metrics"]["test_accuracy"] <= 1
    assert "run folder:" in (tmp_path / "out" / "tiny" / "real" / "log.txt").read_text()
    assert killed["status"] == "failed"
    assert "the process ended with status -9; see " in killed["error"]
    with start_worker(tmp_path / "out", TINY | {"limit_seconds": 0.05}) as worker:
        assert "not done after 0.05 s" in worker.run(0)["error"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (TrainingDiverged("the loss is nan"), "diverged"),
        (DataError("nowhere"), "no data"),
        (ConfigError("wrong"), "refused"),
        (ZeroDivisionError("by zero"), "failed"),
    ],
)
def test_the_answer_says_how_a_training_ended(
    error: Exception, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(_: object) -> None:
        raise error

    monkeypatch.setattr("apps.xor.train.train", train)
    answer = run_seed(Case.model_validate(TINY), "real", 3, tmp_path)
    assert (answer["seed"], answer["status"]) == (3, status)
    assert str(error) in answer["error"]


def test_a_run_whose_saved_weights_score_otherwise_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case.model_validate(TINY)
    assert run_seed(case, "real", 0, tmp_path / "same", score_again=True)["status"] == "done"

    random, logits = np.random.default_rng(0), NumpyLearner.logits

    def noisy_logits(learner: NumpyLearner, inputs: NDArray[Any]) -> NDArray[np.float64]:
        return logits(learner, inputs) + 0.01 * random.standard_normal((len(inputs), 1))

    monkeypatch.setattr(NumpyLearner, "logits", noisy_logits)
    answer = run_seed(case, "real", 0, tmp_path / "noisy", score_again=True)
    assert answer["status"] == "failed"
    assert answer["error"].startswith("scored again, the saved weights have test_loss 0.")


@pytest.mark.slow
@pytest.mark.parametrize("framework", ["torch", "keras", "numpy"])
def test_a_seed_gives_the_same_result_alone_and_after_others(framework: str, tmp_path: Path) -> None:
    content = DIGITS | {
        "overrides": [f"framework={framework}", "model=mlp", "trainer.threads=1"],
        "real": ["data=digits", "trainer.epochs=1"],
    }
    with start_worker(tmp_path, content) as first:
        together = [first.run(seed) for seed in (0, 1)]
    assert [one["status"] for one in together] == ["done", "done"], together
    with start_worker(tmp_path / "out", content) as second:
        alone = second.run(1)
    for key in ("test_accuracy", "test_loss"):
        assert together[1]["metrics"][key] == alone["metrics"][key]
    assert together[0]["metrics"]["test_loss"] != alone["metrics"]["test_loss"]


def test_an_invalid_case_file_is_refused(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    (bench.folder / "cases" / "broken.yaml").write_text("app: [xor\n")
    assert bench.run() == 2
    assert "broken.yaml cannot be read: " in capsys.readouterr().err
