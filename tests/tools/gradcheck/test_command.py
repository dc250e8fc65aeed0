import json
from pathlib import Path

import pytest

from shared.backprop import Linear
from tests.forks import Forks
from tests.helpers import ROOT
from tools.gradcheck import __main__ as command
from tools.gradcheck import faults

RECORDED = ROOT / "docs" / "results" / "gradients.json"


def test_one_layer_is_checked(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["case=Embedding"]) == 0
    printed = capsys.readouterr()
    assert "Embedding [1,2]" in printed.out
    assert "Keras's Embedding has no padding_idx" in printed.out
    assert "3 of 3 planted faults found" in printed.out
    assert max(map(len, printed.out.splitlines())) <= 100
    assert "[ 1/1] Embedding" in printed.err


def test_all_layers_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "NAMES", ("Flatten", "clip_grad_value_"))
    assert command.main([f"out={tmp_path}/gradients.json"]) == 0
    written = json.loads((tmp_path / "gradients.json").read_text())
    assert [row["layer"] for row in written["layers"]] == ["Flatten", "clip_grad_value_"]
    assert set(written["versions"]) >= {"torch", "tensorflow", "keras", "numpy"}


def test_a_fault_that_is_not_found_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = "return dy.reshape(shape)", "return dy.reshape(shape) + 0"
    monkeypatch.setattr(faults, "FAULTS", [faults.Fault("linear.py", "Flatten", "dx", "none", old, new)])
    assert command.main(["case=Flatten"]) == 5
    assert "not found: Flatten: none" in capsys.readouterr().out


def test_a_wrong_gradient_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = Linear.backward
    monkeypatch.setattr(Linear, "backward", lambda self, dy: 1.0005 * right(self, dy))
    monkeypatch.setattr(command, "NAMES", ("Linear",))
    assert command.main([f"out={tmp_path}/gradients.json"]) == 5
    printed = capsys.readouterr().out
    assert "Linear: dx differs from torch by 5.0e-04 (allowed 1e-09)" in printed
    assert "Linear: dx differs from Keras by 5.0e-04 (allowed 1e-09)" in printed
    assert "Linear: dx differs from finite differences by" in printed
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_name_is_refused_before_a_framework_is_imported(forks: Forks) -> None:
    result = forks.run("tools.gradcheck", "case=Linaer")
    assert result.returncode == 2
    assert "did you mean 'Linear'?" in result.stderr


def test_the_recorded_table_is_of_these_checks() -> None:
    layers = json.loads(RECORDED.read_text())["layers"]
    assert [row["layer"] for row in layers] == list(command.NAMES), (
        "out of date: docs/gradients.md says how to record it"
    )
    assert max(map(len, command.table(layers).splitlines())) <= 100
    for row in layers:
        planted = sum(fault.layer == row["layer"] for fault in faults.FAULTS)
        assert row["faults_caught"] == row["faults"] == planted, (
            "out of date: docs/gradients.md says how to record it"
        )
        assert row["failures"] == []
