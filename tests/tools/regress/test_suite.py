"""The suite: cases, the processes that train, baselines; real trainings only where it says so."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tools.regress.__main__
from shared.errors import ConfigError, DataError, TrainingDiverged
from tests.helpers import ROOT
from tools.regress import baselines, cases, suite
from tools.regress.cases import SOURCES, Case
from tools.regress.process import Worker
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


def answer(case: str, source: str, seed: int, accuracy: float = 0.97) -> dict[str, Any]:
    """Return what a worker says of an honest run."""
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
    """Return what a worker says on a machine that has only the embedded sample."""
    if source == "real":
        return {"seed": seed, "status": "no data", "error": "MNIST is nowhere"}
    return answer(case, source, seed)


class Bench:
    """A folder of cases, one of baselines, and workers that answer what they are told to."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.say: Answer = answer
        self.asked: list[tuple[str, str, int]] = []
        self.outs = 0
        (folder / "cases").mkdir()
        bench = self

        class Scripted:
            def __init__(self, _: Path, name: str, case: Case, source: str, out: Path) -> None:
                self.words = name, source

            def __enter__(self) -> "Scripted":
                return self

            def __exit__(self, *_: object) -> None: ...

            @staticmethod
            def stop_all() -> None: ...

            def run(self, seed: int) -> dict[str, Any]:
                bench.asked.append((*self.words, seed))
                return bench.say(*self.words, seed)

        monkeypatch.setattr(suite, "Worker", Scripted)
        clean = {"commit": "c0ffee", "dirty": False}
        monkeypatch.setattr(baselines, "committed", lambda _: clean)

    def case(self, name: str, content: dict[str, Any]) -> None:
        (self.folder / "cases" / f"{name}.yaml").write_text(json.dumps(content))

    def run(self, *words: str) -> int:
        self.asked.clear()
        self.outs += 1
        folders = [f"--{name}-folder={self.folder / name}" for name in ("cases", "baselines")]
        return tools.regress.__main__.main([*folders, f"out={self.folder / str(self.outs)}", *words])

    def report(self) -> dict[str, dict[str, Any]]:
        """Return what regress.json says of each case."""
        content = json.loads((self.folder / str(self.outs) / "regress.json").read_text())
        return {case["case"]: case for case in content["cases"]}


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    yield Bench(tmp_path, monkeypatch)
    Worker.stopped = False


def worse(case: str, source: str, seed: int) -> dict[str, Any]:
    return answer(case, source, seed, accuracy=0.95)


def test_every_case_of_the_suite_is_accepted_by_its_application() -> None:
    names = cases.names()
    apps_that_train = {path.parent.name for path in ROOT.glob("apps/*/__main__.py")}
    for name in names:
        case = cases.load(name)
        sources = SOURCES if case.embedded is not None else ("real",)
        for source in sources:
            config = case.comparable(source)
            assert name == f"{case.app}_{config['framework']}"
            assert config["trainer"]["threads"] == 1, "the same results on any number of cores"
            assert config["trainer"]["precision"] != "auto"
            assert config["data"].get("fallback") is None, "no sample behind the back of a case"
            assert not {"seed", "run_dir"} & config.keys()
    # gradient_flow is about gradients and has no accuracy to lose
    with_accuracy = apps_that_train - {"gradient_flow"}
    frameworks = ("torch", "keras", "numpy")
    assert set(names) == {f"{app}_{framework}" for app in with_accuracy for framework in frameworks}
    short = {cases.load(name).app for name in cases.chosen("short")}
    assert short == {cases.load(name).app for name in names}


def test_recorded_baselines_are_sound_and_belong_to_their_cases() -> None:
    for path in sorted(baselines.FOLDER.glob("*/*.json")):
        record = baselines.read(path.stem, path.parent.name)
        assert record
        stands_in = record.facts["embedded"] or record.facts["dataset"] == "recall"  # generated
        assert stands_in == (path.parent.name == "embedded")
        assert record.facts["config"] == cases.load(path.stem).comparable(path.parent.name)
        assert not record.notes["git"]["dirty"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"ap": 1}, "unknown key 'ap' (did you mean 'app'?)"),
        ({"looks": [5, 3]}, "looks=[5, 3] must rise"),
        ({"looks": [3, 30]}, "must rise and end at 20 or below"),
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
    assert bench.asked == []


def test_bless_then_regress_is_identical_and_takes_three_seeds(bench: Bench) -> None:
    bench.case("one", DIGITS)
    assert bench.run("--bless", "case=one") == 0
    content = json.loads((bench.folder / "baselines" / "real" / "one.json").read_text())
    assert [run["seed"] for run in content["runs"]] == list(range(20))
    assert content["git"] == {"commit": "c0ffee", "dirty": False}
    assert {"config", "versions", "hardware", "recorded", "dataset_sha256"} <= content.keys()
    assert bench.run() == 0
    assert bench.report()["one"]["verdict"] == "identical"
    assert bench.asked == [("one", "real", seed) for seed in range(3)]


def test_only_bless_writes_baselines(bench: Bench) -> None:
    bench.case("one", DIGITS)
    assert bench.run() == 2
    assert "make bless case=one records one" in bench.report()["one"]["reason"]
    assert not (bench.folder / "baselines").exists()


def test_bless_prints_old_against_new(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.case("one", DIGITS)
    bench.run("--bless", "case=one")
    assert "one: the first baseline, 20 seeds" in capsys.readouterr().out
    bench.say = worse
    assert bench.run("--bless", "case=one", "seeds=22") == 0
    said = capsys.readouterr().out
    assert "commit c0ffee, 20 seeds) -> new (22 seeds)" in said
    assert "accuracy  0.97" in said
    assert "-> 0.95" in said
    assert bench.run() == 0
    assert bench.report()["one"]["verdict"] == "identical"


def test_bless_records_nothing_when_a_run_fails(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.case("one", DIGITS)
    bench.say = lambda *words: (
        answer(*words) if words[2] < 5 else {"seed": 5, "status": "diverged", "error": "nan"}
    )
    assert bench.run("--bless", "case=one") == 2
    assert "nothing recorded: seed 5: diverged: nan" in capsys.readouterr().err
    assert len(bench.asked) == 6
    assert not (bench.folder / "baselines").exists()


def test_bless_goes_on_with_the_other_cases_when_one_fails(bench: Bench) -> None:
    bench.case("bad", DIGITS)
    bench.case("good", DIGITS)
    failed = {"seed": 0, "status": "failed", "error": "no memory"}
    bench.say = lambda *words: failed if words[0] == "bad" else answer(*words)
    assert bench.run("--bless", "case=bad,good", "jobs=1") == 2
    written = [path.name for path in (bench.folder / "baselines").rglob("*.json")]
    assert written == ["good.json"]


def test_bless_wants_committed_code(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.case("one", DIGITS)
    monkeypatch.setattr(baselines, "committed", lambda _: {"commit": "0", "dirty": True})
    assert bench.run("--bless", "case=one") == 2
    assert "commit your changes" in capsys.readouterr().err
    assert bench.asked == []


def test_a_regression_fails_with_status_5_and_the_others_are_still_run(bench: Bench) -> None:
    bench.case("bad", DIGITS)
    bench.case("good", DIGITS)
    bench.run("--bless", "case=all")
    bench.say = lambda case, source, seed: (worse if case == "bad" else answer)(case, source, seed)
    assert bench.run() == 5
    report = bench.report()
    assert (report["bad"]["verdict"], report["good"]["verdict"]) == ("regression", "identical")
    assert len(report["bad"]["results"]["runs"]) == 5, "as soon as it is clear"


def test_a_run_that_fails_ends_its_case_at_once(bench: Bench) -> None:
    bench.case("one", DIGITS)
    bench.run("--bless", "case=one")
    failed = {"seed": 0, "status": "failed", "error": "the process ended with status -9"}
    bench.say = lambda *_: failed
    assert bench.run() == 5
    assert bench.report()["one"]["reason"] == "seed 0: failed: the process ended with status -9"
    assert len(bench.asked) == 1


def test_real_and_embedded_data_have_separate_baselines(bench: Bench) -> None:
    bench.case("one", DIGITS)
    bench.run("--bless", "case=one")
    bench.say = no_data
    assert bench.run() == 2, "the real baseline says nothing about the embedded sample"
    assert "make bless case=one data=embedded records one" in (bench.report()["one.embedded"]["reason"])
    assert bench.run("--bless", "case=one") == 0
    assert bench.run() == 0
    report = bench.report()["one.embedded"]
    assert report["verdict"] == "identical"
    assert report["notes"] == ["the embedded sample stands in: MNIST is nowhere"]
    assert bench.run("data=real") == 3
    bench.say = lambda case, _, seed: answer(case, "embedded", seed)
    assert bench.run("data=real") == 2, "a sample that poses as the real data"
    assert 'dataset: "mnist" -> "digits"' in bench.report()["one"]["reason"]


def test_a_case_with_one_source_of_data_has_it_whatever_is_asked_for(bench: Bench) -> None:
    bench.case("one", TINY)
    assert bench.run("--bless", "case=one") == 0
    assert bench.run("data=embedded") == 0
    assert bench.report()["one"]["verdict"] == "identical"


def test_data_that_goes_missing_on_the_way_is_a_failure(bench: Bench) -> None:
    bench.case("one", DIGITS)
    bench.run("--bless", "case=one")
    bench.say = lambda *words: answer(*words) if words[2] < 1 else no_data(*words)
    assert bench.run() == 5
    assert bench.report()["one"]["reason"] == "seed 1: no data: MNIST is nowhere"


def test_another_configuration_is_refused_without_training(bench: Bench) -> None:
    bench.case("one", DIGITS)
    bench.run("--bless", "case=one")
    bench.case("one", DIGITS | {"overrides": [*DIGITS["overrides"], "optimizer.lr=0.1"]})
    assert bench.run() == 2
    assert "config.optimizer.lr: 0.002 -> 0.1" in bench.report()["one"]["reason"]
    assert bench.asked == []


def test_raw_results_are_written_before_the_verdict(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.case("one", DIGITS)
    bench.run("--bless", "case=one")

    def crash(*_: object) -> None:
        raise RuntimeError("while deciding")

    monkeypatch.setattr(suite, "decide", crash)
    with pytest.raises(RuntimeError, match="while deciding"):
        bench.run()
    results = json.loads((bench.folder / str(bench.outs) / "results.json").read_text())
    assert [run["seed"] for run in results["cases"][0]["runs"]] == [0, 1, 2]
    assert not (bench.folder / str(bench.outs) / "regress.json").exists()


def test_an_interrupted_suite_keeps_what_it_has_measured(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.case("one", DIGITS)
    bench.run("--bless", "case=one")

    def interrupted(case: str, source: str, seed: int) -> dict[str, Any]:
        if seed == 2:
            raise KeyboardInterrupt
        return answer(case, source, seed)

    bench.say = interrupted
    assert bench.run() == 130
    assert capsys.readouterr().err == "interrupted\n"
    results = json.loads((bench.folder / str(bench.outs) / "results.json").read_text())
    assert [(run["seed"], run.get("status")) for run in results["cases"][0]["runs"]] == [(0, None), (1, None)]
    assert not (bench.folder / str(bench.outs) / "regress.json").exists()


def test_raw_results_can_be_judged_again(bench: Bench) -> None:
    bench.case("one", DIGITS)
    bench.run("--bless", "case=one")
    bench.say = worse
    bench.run()
    files = [
        bench.folder / "baselines" / "real" / "one.json",
        bench.folder / str(bench.outs) / "results.json",
    ]
    words = [f"--baseline={files[0]}", f"--results={files[1]}", f"out={bench.folder / 'again'}"]
    assert tools.regress.__main__.main(words) == 5


def test_the_command_and_make_know_the_cases() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tools.regress", "case=nothing"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 2
    assert "choose from" in result.stderr
    assert "mnist_cnn_torch" in result.stderr
    targets = (ROOT / "Makefile").read_text()
    assert "-m tools.regress $(OVERRIDES)" in targets
    assert "-m tools.regress --bless $(OVERRIDES)" in targets


def worker(tmp_path: Path, content: dict[str, Any]) -> Worker:
    (tmp_path / "tiny.yaml").write_text(json.dumps(content))
    return Worker(tmp_path, "tiny", cases.load("tiny", tmp_path), "real", tmp_path / "out")


def test_a_process_answers_until_it_ends_or_hangs(tmp_path: Path) -> None:
    with worker(tmp_path, TINY) as process:
        first = process.run(0)
        process.process.kill()
        killed = process.run(1)
    assert first["status"] == "done", first
    assert 0 <= first["metrics"]["test_accuracy"] <= 1
    assert "run folder:" in (tmp_path / "out" / "tiny" / "real" / "log.txt").read_text()
    assert killed["status"] == "failed"
    assert "the process ended with status -9; see " in killed["error"]
    with worker(tmp_path / "out", TINY | {"limit_seconds": 0.05}) as process:
        assert "not done after 0.05 s" in process.run(0)["error"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (TrainingDiverged("the loss is nan"), "diverged"),
        (DataError("nowhere"), "no data"),
        (ConfigError("wrong"), "refused"),
        (ZeroDivisionError("by zero"), "failed"),
    ],
)
def test_how_a_training_ended_is_told(
    error: Exception, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(_: object) -> None:
        raise error

    monkeypatch.setattr("apps.xor.train.train", train)
    said = run_seed(Case.model_validate(TINY), "real", 3, tmp_path)
    assert (said["seed"], said["status"]) == (3, status)
    assert str(error) in said["error"]


@pytest.mark.slow
@pytest.mark.parametrize("framework", ["torch", "keras", "numpy"])
def test_seeds_in_one_process_come_out_as_they_do_alone(framework: str, tmp_path: Path) -> None:
    content = DIGITS | {
        "overrides": [f"framework={framework}", "model=mlp", "trainer.threads=1"],
        "real": ["data=digits", "trainer.epochs=1"],
    }
    with worker(tmp_path, content) as first:
        together = [first.run(seed) for seed in (0, 1)]
    assert [one["status"] for one in together] == ["done", "done"], together
    with worker(tmp_path / "out", content) as second:
        alone = second.run(1)
    for key in ("test_accuracy", "test_loss"):
        assert together[1]["metrics"][key] == alone["metrics"][key]
    assert together[0]["metrics"]["test_loss"] != alone["metrics"]["test_loss"]


def test_a_case_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="there is no such case; choose from"):
        cases.load("nothing")


@pytest.mark.slow
def test_tiny_trainings_from_bless_to_the_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cases").mkdir()
    (tmp_path / "cases" / "tiny.yaml").write_text(json.dumps(TINY))
    monkeypatch.setattr(baselines, "committed", lambda _: {"commit": "c0ffee", "dirty": False})
    folders = [f"--{name}-folder={tmp_path / name}" for name in ("cases", "baselines")]

    def run(out: str, *words: str) -> int:
        return tools.regress.__main__.main([*folders, f"out={tmp_path / out}", *words])

    assert run("first", "--bless", "case=tiny") == 0
    assert run("second") == 0
    report = json.loads((tmp_path / "second" / "regress.json").read_text())
    assert report["cases"][0]["verdict"] == "identical"


def test_a_case_that_could_never_fail_is_refused(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.case("tiny", {**TINY, "looks": [1]})
    assert bench.run("case=tiny") == 2
    assert "looks=[1] are too few seeds ever to fail" in capsys.readouterr().err


def test_a_case_file_that_is_no_yaml_is_explained(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("app: [xor\n")
    with pytest.raises(ConfigError, match=r"^broken\.yaml: "):
        cases.load("broken", tmp_path)
