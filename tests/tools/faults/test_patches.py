"""The planted faults are still faults of this code."""

import subprocess
from pathlib import Path

import pytest

from shared.errors import ConfigError
from tests.helpers import ROOT
from tools.regress import cases
from tools.regress.faults import copies
from tools.regress.faults.patches import chosen, read

FEWEST = 32

DIFF = """\
diff --git a/shared/data/one.py b/shared/data/one.py
--- a/shared/data/one.py
+++ b/shared/data/one.py
@@ -1,2 +1,2 @@
 first
-second
+zweite
"""


def patch(folder: Path, header: str = "Fault: It is wrong.\nCases: xor_numpy, xor_torch\n") -> Path:
    path = folder / "one.patch"
    path.write_text(f"{header}\n{DIFF}")
    return path


def test_every_patch_applies_to_the_code_as_it_is() -> None:
    faults = chosen([])
    assert len(faults) >= FEWEST
    for fault in faults:
        copies.apply(ROOT, fault, "--check")


def test_every_patch_changes_code_and_names_cases_that_there_are() -> None:
    known = set(cases.names())
    for fault in chosen([]):
        assert fault.files, f"{fault.name}: no diff"
        assert all(file.startswith(("apps/", "shared/")) for file in fault.files), fault.name
        assert set(fault.cases) <= known, f"{fault.name}: {fault.cases}"
        assert fault.sentence.endswith("."), fault.name


def test_every_application_and_framework_has_faults() -> None:
    measured = {name for fault in chosen([]) for name in fault.cases}
    for part in (0, 2):  # NAME_FRAMEWORK: the application, the framework
        covered, there_are = (
            {name.rpartition("_")[part] for name in names} for names in (measured, cases.names())
        )
        assert covered == there_are


def test_a_patch_says_what_it_is(tmp_path: Path) -> None:
    fault = read(patch(tmp_path))
    assert (fault.name, fault.sentence) == ("one", "It is wrong.")
    assert fault.cases == ("xor_numpy", "xor_torch")
    assert fault.files == ("shared/data/one.py",)
    with pytest.raises(ConfigError, match="must begin with the lines"):
        read(patch(tmp_path, "Fault: It is wrong.\n"))


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean no_eval_mode"):
        chosen(["no_eval_mod"])


def test_a_patch_is_applied_to_a_folder_inside_a_repository(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    code = tmp_path / "code"
    (code / "shared" / "data").mkdir(parents=True)
    (code / "shared" / "data" / "one.py").write_text("first\nsecond\n")
    fault = read(patch(tmp_path))
    copies.apply(code, fault)
    assert (code / "shared" / "data" / "one.py").read_text() == "first\nzweite\n"
    with pytest.raises(ConfigError, match=r"one\.patch does not apply"):
        copies.apply(code, fault)


def test_what_a_copy_writes_does_not_reach_the_data(tmp_path: Path) -> None:
    source, target = tmp_path / "data", tmp_path / "copy"
    (source / "mnist").mkdir(parents=True)
    (source / "mnist" / "images").write_text("right")
    (source / "mnist" / ".lock").touch()
    copies.link(source, target)
    assert (target / "mnist" / "images").read_text() == "right"
    (target / "mnist" / "new").touch()
    (tmp_path / "wrong").write_text("wrong")
    (tmp_path / "wrong").replace(target / "mnist" / "images")
    assert sorted(path.name for path in (source / "mnist").iterdir()) == [".lock", "images"]
    assert (source / "mnist" / "images").read_text() == "right"


def test_a_fault_in_the_loaders_gets_data_of_its_own(tmp_path: Path) -> None:
    by_name = {fault.name: fault for fault in chosen([])}
    copies.make(tmp_path / "loader", by_name["first_words_kept"])
    assert list((tmp_path / "loader" / "data").iterdir()) == []
    text = (tmp_path / "loader" / "shared" / "data" / "text.py").read_text()
    assert 'if keep == "first":' in text
