"""tools.new_app: what it refuses, and an application that works in every tool without registration."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.helpers import ROOT
from tools.new_app.__main__ import main

APPS = sorted((ROOT / "apps").iterdir())


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("xor", "there is already apps/xor"),
        ("base", "there is already conf/base.yaml"),
        ("lambda", "'lambda' is not a name"),
        ("Digits", "'Digits' is not a name"),
        ("my-app", "'my-app' is not a name"),
        ("../x", "'../x' is not a name"),
        ("a" * 25, "is not a name"),
        ("shared", "shared is another Python package"),
        ("torch", "torch is another Python package"),
        ("statistics", "statistics is another Python package"),
    ],
)
def test_a_bad_name_is_refused_in_one_line(
    name: str, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name]) == 2
    error = capsys.readouterr().err
    assert problem in error
    assert len(error.splitlines()) == 1
    assert sorted((ROOT / "apps").iterdir()) == APPS


def test_a_failed_write_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tools.new_app.__main__.ROOT", tmp_path)
    (tmp_path / "tests").write_text("a file where a folder has to be")
    assert main(["new_one"]) == 2
    assert "cannot write" in capsys.readouterr().err
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["tests"]
    assert not (tmp_path / "apps" / "new_one").exists()


@pytest.mark.slow
def test_a_new_app_passes_lint_and_tests_and_works_in_every_tool(tmp_path: Path) -> None:
    for name in ("accuracy_gate", "apps", "conf", "shared", "tests", "tools", "pyproject.toml"):
        source = ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, tmp_path / name)

    def run(*words: str) -> str:
        command = [sys.executable, "-m", *words]
        environment = os.environ | {"PYTHONPATH": str(tmp_path)}
        result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert result.returncode == 0, f"{words}: {result.stdout}{result.stderr}"
        return result.stdout

    *written, advice = run("tools.new_app", "new_one").splitlines()
    assert advice.startswith("try it: ")
    assert advice.endswith(" -m apps.new_one")
    assert "apps/new_one/train.py" in written
    assert all((tmp_path / path).is_file() for path in written)
    python = [path for path in written if path.endswith(".py")]
    run("ruff", "check", ".")
    run("ruff", "format", "--check", ".")
    run("mypy", *python)
    tests = ["tests/apps/test_new_one.py", "tests/test_layout.py", "tests/runs/test_repeat.py"]
    run("pytest", "-x", "-p", "no:cacheprovider", *tests)
    run("apps.new_one", "debug=smoke", "hydra.run.dir=outputs/new_one/one")
    metrics = json.loads((tmp_path / "outputs" / "new_one" / "one" / "metrics.json").read_text())
    assert (metrics["app"], metrics["status"]) == ("new_one", "done")
    assert "to the last bit" in run("tools.evaluate", "latest")
    digit = Image.new("L", (60, 60))
    digit.paste(255, (25, 10, 32, 50))
    digit.save(tmp_path / "digit.png")
    assert "digit.png: " in run("tools.predict", "latest", "digit.png")
    assert "logits differ by" in run("tools.export", "latest")
    assert "the same to the last bit" in run("tools.rerun", "outputs/new_one/one")
    run("tools.report", "--out", "report.html")
    assert "<td>new_one</td>" in (tmp_path / "report.html").read_text()
