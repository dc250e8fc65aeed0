"""Setting up: the targets of the Makefile that no documented command tries, and other systems."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

import pytest

from tests.helpers import ROOT
from tools.runs import latest


@pytest.mark.slow
def test_an_update_that_fails_keeps_the_environment(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "requirements.lock").write_text("uv==0.0.1 \\\n    --hash=sha256:0\n")
    venv.create(tmp_path / ".venv", with_pip=False)  # so that nothing can be installed
    result = subprocess.run(["make", "install"], cwd=tmp_path, capture_output=True)
    assert result.returncode != 0
    subprocess.run([tmp_path / ".venv" / "bin" / "python", "-c", "pass"], check=True)


def test_an_editor_can_run_the_file_of_an_application(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "requirements.lock").touch()
    (tmp_path / "apps" / "new").mkdir(parents=True)
    (tmp_path / "apps" / "new" / "config.py").touch()
    (tmp_path / "apps" / "new" / "__main__.py").write_text("import apps.new.config; print('done')")
    venv.create(tmp_path / ".venv", with_pip=False)
    for name in ("pip", "uv"):  # instead of those that install packages
        (tmp_path / ".venv" / "bin" / name).symlink_to(shutil.which("true") or "")
    subprocess.run(["make", "install"], cwd=tmp_path, check=True, capture_output=True)
    command = [f"{tmp_path}/.venv/bin/python", "apps/new/__main__.py"]
    assert subprocess.check_output(command, cwd=tmp_path) == b"done\n"


@pytest.mark.parametrize(
    ("words", "there", "installed"),
    [
        ("train-mnist", "", "torch"),
        ("train-mnist framework=keras", "", "keras"),
        ("train-mnist framework=numpy", "", "numpy"),
        ("train-mnist framework=numpy", "torch", ""),
        ("train-mnist framework=keras", "torch", "keras"),
        ("train-mnist framework=jax", "", "numpy"),
        ("train-mnist ARGS=-m framework=torch,keras", "", "keras torch"),
        ("train-mnist +experiment=a13", "", "keras"),
        ("train-mnist trainer.resume=latest", "keras", ""),
        ("train-gradient-flow", "", "numpy"),
        ("train-resnet framework=keras", "", "keras torch"),  # torch trains the source task
        ("check", "", "numpy"),
        ("gradcheck", "torch", "everything"),
        ("sweep app=resnet_transfer framework=numpy", "", "tools torch"),
        ("sweep app=gradient_flow", "", "tools"),
        ("sweep app=xor framework=keras", "", "keras tools"),
        ("predict run=latest", "torch", ""),
        ("predict run=latest", "", "numpy"),
        ("explore run=latest", "", "numpy"),
        ("export run=latest", "torch", "tools"),
        ("install extra=all", "", "keras tools torch"),
        ("install", "torch", "everything"),
        ("lint", "torch", "everything"),
        ("train-mnist framework=keras", "everything", ""),
        ("install extra=keras", "everything", ""),
    ],
)
def test_a_target_installs_what_it_needs(words: str, there: str, installed: str, tmp_path: Path) -> None:
    assert installed_parts(tmp_path, words, there) == installed.split()


@pytest.mark.parametrize(("framework", "parts"), [("keras", ["keras"]), ("torch", ["tools", "torch"])])
def test_an_export_installs_the_framework_of_its_run(
    framework: str, parts: list[str], tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(f"app: xor\nframework: {framework}\n")
    assert installed_parts(tmp_path, "export run=run", "") == parts


@pytest.mark.parametrize(("framework", "parts"), [("keras", ["keras"]), ("torch", ["tools", "torch"])])
@pytest.mark.parametrize("folder", ["new", "sweep_new/0"])
def test_an_export_of_the_latest_run_installs_its_framework(
    folder: str, framework: str, parts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = "torch" if framework == "keras" else "keras"
    runs = [("old", other, "done"), (folder, framework, "done"), ("stopped", other, "interrupted")]
    for age, (name, of_run, status) in enumerate(reversed(runs)):
        run = tmp_path / "outputs" / "xor" / name
        run.mkdir(parents=True)
        (run / "config.yaml").write_text(f"app: xor\nframework: {of_run}\n")
        (run / "metrics.json").write_text(json.dumps({"status": status}, indent=2))
        os.utime(run / "metrics.json", (1e9 - age, 1e9 - age))
    assert installed_parts(tmp_path, "export run=latest", "") == parts
    monkeypatch.chdir(tmp_path)
    assert latest() == Path("outputs", "xor", folder)  # what tools.export takes


def test_a_new_lock_updates_everything_that_is_there(tmp_path: Path) -> None:
    old = time.time() - 1e9
    assert installed_parts(tmp_path, "train-mnist", "keras tools", old) == ["keras", "tools", "torch"]
    assert installed_parts(tmp_path, "train-mnist", "everything", old) == ["everything"]


def installed_parts(folder: Path, words: str, there: str, time_of_parts: float | None = None) -> list[str]:
    """Return what make would install in a clone whose .venv already has some parts."""
    for name in ("Makefile", "conf", "requirements.lock"):
        if not (folder / name).exists():
            (folder / name).symlink_to(ROOT / name)
    (folder / ".venv").mkdir(exist_ok=True)
    for part in there.split():
        stamp = folder / ".venv" / f"installed-{part}".replace("-everything", "")
        stamp.touch()
        if time_of_parts is not None:
            os.utime(stamp, (time_of_parts, time_of_parts))
    command = ["make", "--dry-run", "PYTHON=python3", *words.split()]
    shown = subprocess.check_output(command, cwd=folder, text=True)
    parts = re.findall(r"touch \.venv/installed-?(\w*)", shown)
    return sorted(part or "everything" for part in parts)


def test_an_unknown_extra_is_refused() -> None:
    command = ["make", "--no-print-directory", "install", "extra=jax"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 2
    assert "extra=jax: choose from all, numpy, torch, keras, tools" in result.stderr


def test_a_word_that_is_no_target_is_refused_before_anything_runs() -> None:
    result = subprocess.run(
        ["make", "--no-print-directory", "train-mnist", "optimizer.lr"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2
    assert result.stdout == ""
    assert "there is no target 'optimizer.lr'" in result.stderr
    assert "a key is set with optimizer.lr=VALUE" in result.stderr


def test_a_key_that_a_target_does_not_read_is_refused() -> None:
    command = ["make", "--no-print-directory", "export", "run=latest", "out=net.onnx"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 2
    assert "out=net.onnx: this target reads only ARGS run=VALUE" in result.stderr


def test_windows_is_refused_in_one_line() -> None:
    code = "import sys; sys.platform = 'win32'; import shared"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode != 0
    assert result.stderr.splitlines() == [
        "error: Windows is not supported; use the Windows Subsystem for Linux (WSL)"
    ]
