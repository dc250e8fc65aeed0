"""The steps of the GitHub Action, run locally."""

import json
import os
import subprocess
import sys
from pathlib import Path

import yaml  # type: ignore[import-untyped]

from accuracy_gate.cli import main
from tests.helpers import ROOT

PYTHON = f"""#!/bin/sh
echo "$@" >> calls
[ "$2" = pip ] && exit 0
PYTHONPATH={ROOT} exec {sys.executable} "$@"
"""


def test_the_steps_check_and_report(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    baseline = tmp_path / "my baseline.json"
    command = ["--", "sh", "-c", "echo 0.{seed}; cat drop"]
    (tmp_path / "drop").write_text("")
    before = os.getcwd()
    os.chdir(tmp_path)
    try:
        assert main(["record", "--baseline", str(baseline), *command]) == 0
    finally:
        os.chdir(before)
    (tmp_path / "drop").write_text("0.01")
    action = yaml.safe_load((ROOT / "accuracy_gate" / "action.yml").read_text())
    inputs = {name: entry["default"] for name, entry in action["inputs"].items()}
    inputs |= {"python": str(python), "baseline": str(baseline), "ledger": "led ger"}
    outputs = []
    for step in action["runs"]["steps"]:
        env = {
            key: inputs[value.removeprefix("${{ inputs.").removesuffix(" }}")]
            for key, value in step["env"].items()
        }
        env |= {"GITHUB_ACTION_PATH": "accuracy gate", "GITHUB_STEP_SUMMARY": "summary.md"}
        words = [step["shell"], "-e", "-o", "pipefail", "-c", step["run"]]
        outputs.append(
            subprocess.run(words, cwd=tmp_path, env=os.environ | env, capture_output=True, text=True)
        )
    assert [output.returncode for output in outputs] == [0, 5], outputs
    assert "::error title=Accuracy gate::results: regression" in outputs[1].stdout
    assert "REGRESSION" in (tmp_path / "summary.md").read_text()
    assert json.loads((tmp_path / "led ger").read_text())["verdict"] == "regression"
    assert "-m pip install --quiet accuracy gate" in (tmp_path / "calls").read_text()
