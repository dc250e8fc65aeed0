"""The planted faults still fit the code."""

import ast
import shutil
from pathlib import Path

import pytest

from shared.errors import ConfigError
from tests.helpers import ROOT
from tools.regress import cases
from tools.regress.faults.planted import Fault, copy_code, link_data, load_faults

FEWEST = 32


@pytest.mark.parametrize("fault", load_faults(), ids=lambda fault: fault.name)
def test_each_fault_fits_the_code(fault: Fault, tmp_path: Path) -> None:
    changed = tmp_path / fault.file
    changed.parent.mkdir(parents=True)
    shutil.copy(ROOT / fault.file, changed)
    fault.plant(tmp_path)
    assert fault.file.startswith(("apps/", "shared/"))
    before, after = (ast.dump(ast.parse(file.read_text())) for file in (ROOT / fault.file, changed))
    assert after != before


def test_each_fault_has_a_sentence_and_known_cases() -> None:
    faults, known = load_faults(), set(cases.case_names())
    assert len(faults) >= FEWEST
    for fault in faults:
        assert set(fault.cases) <= known, f"{fault.name}: {fault.cases}"
        assert fault.sentence.endswith("."), fault.name


def test_every_application_and_framework_has_faults() -> None:
    measured = {name for fault in load_faults() for name in fault.cases}
    for part in (0, 2):  # NAME_FRAMEWORK: the application, the framework
        covered, expected = (
            {name.rpartition("_")[part] for name in names} for names in (measured, cases.case_names())
        )
        assert covered == expected


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'no_eval_mode'"):
        load_faults(["no_eval_mod"])


@pytest.mark.parametrize("code", ["first\n", "second second\n"])
def test_a_text_that_does_not_occur_once_is_refused(code: str, tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text(code)
    with pytest.raises(ConfigError, match=r"wrong: 'second' should occur once in one\.py"):
        Fault("wrong", "It is wrong.", ["xor_numpy"], "one.py", [("second", "third")]).plant(tmp_path)


def test_a_faulty_copy_cannot_change_the_data(tmp_path: Path) -> None:
    source, target = tmp_path / "data", tmp_path / "copy"
    (source / "mnist").mkdir(parents=True)
    (source / "mnist" / "images").write_text("right")
    (source / "mnist" / ".lock").touch()
    link_data(source, target)
    assert (target / "mnist" / "images").read_text() == "right"
    (target / "mnist" / "new").touch()
    (tmp_path / "wrong").write_text("wrong")
    (tmp_path / "wrong").replace(target / "mnist" / "images")
    assert sorted(path.name for path in (source / "mnist").iterdir()) == [".lock", "images"]
    assert (source / "mnist" / "images").read_text() == "right"


def test_a_fault_in_a_loader_gets_a_data_folder_of_its_own(tmp_path: Path) -> None:
    (fault,) = load_faults(["first_words_kept"])
    copy_code(tmp_path / "copy", fault)
    assert list((tmp_path / "copy" / "data").iterdir()) == []
    assert 'if keep == "first":' in (tmp_path / "copy" / "shared" / "data" / "sequences.py").read_text()
