"""How much of this project a reader meets who follows one run of MNIST in torch."""

import json
import subprocess
import sys
from pathlib import Path

from shared.training.frameworks import resolve_auto
from tests.helpers import ROOT, mnist_config

PROGRAM = """
import atexit, json, runpy, sys
from torch.optim.optimizer import register_optimizer_step_pre_hook

def imported():
    return [str(getattr(module, "__file__", None)) for module in list(sys.modules.values())]

def write():
    open(out, "w").write(json.dumps({"first step": first, "end": first + imported()}))

first, out = [], sys.argv.pop(1)
register_optimizer_step_pre_hook(lambda *_: None if first else first.extend(imported()))
atexit.register(write)
runpy.run_module("apps.mnist_cnn", run_name="__main__", alter_sys=True)
"""
LIMITS = {"first step": (30, 3_000), "end": (40, 4_500)}  # files, lines


def test_the_reading_path_is_short(tmp_path: Path) -> None:
    resolve_auto(mnist_config(tmp_path))  # as MNIST is downloaded: compiles and measures once
    out = tmp_path / "files.json"
    words = ["data=digits", "debug=smoke", "framework=torch", f"hydra.run.dir={tmp_path}/run"]
    subprocess.run([sys.executable, "-c", PROGRAM, str(out), *words], cwd=ROOT, check=True)
    for moment, files in json.loads(out.read_text()).items():
        paths = {Path(file).relative_to(ROOT) for file in files if file.startswith(f"{ROOT}/")}
        lines = {
            str(path): len((ROOT / path).read_text().splitlines())
            for path in sorted(paths)
            if path.parts[0][0] != "."
        }
        measured = len(lines), sum(lines.values())
        most_files, most_lines = LIMITS[moment]
        print(f"{moment}: {measured[0]} files, {measured[1]} lines: {lines}")
        assert "apps/mnist_cnn/__main__.py" in lines
        assert measured[0] <= most_files, f"{moment}: {lines}"
        assert measured[1] <= most_lines, f"{moment}: {lines}"
