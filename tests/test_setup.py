"""Setting up: the targets of the Makefile that no documented command tries, and other systems."""

import shutil
import subprocess
import sys
import venv
from pathlib import Path

from tests.helpers import ROOT


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
