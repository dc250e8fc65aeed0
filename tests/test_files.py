"""Atomic writes and verified reads."""

import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from shared.errors import DataError
from shared.files import read_verified, sha256_of, write_atomically
from tests.helpers import ROOT

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1


def test_the_content_replaces_the_old_one(tmp_path: Path) -> None:
    write_atomically(tmp_path / "file", b"old")
    write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    write_atomically(tmp_path / "atomic", b"")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    program = (
        "import sys; from pathlib import Path; from shared.files import write_atomically\n"
        "write_atomically(Path(sys.argv[1]), bytes(100_000))"
    )

    def full_disk() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # an error, as on a full disk, not a signal
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    result = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "file")],
        cwd=ROOT,
        preexec_fn=full_disk,
        capture_output=True,
        text=True,
    )
    assert "OSError" in result.stderr
    assert (tmp_path / "file").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        write_atomically(tmp_path / "missing" / "file", b"")


def test_the_digest_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    assert sha256_of(b"abc") == sha256_of(tmp_path / "file") == ABC


@pytest.mark.parametrize("digest", [ABC, ABC[:8]])
def test_a_file_with_its_digest_is_read(tmp_path: Path, digest: str) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    assert read_verified(tmp_path / "file", digest) == b"abc"


@pytest.mark.parametrize("digest", [ABC[::-1], None, ""])
def test_a_file_with_another_digest_is_refused(tmp_path: Path, digest: str | None) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    with pytest.raises(DataError, match=rf"file is damaged or another file: .* is {ABC[:16]}"):
        read_verified(tmp_path / "file", digest)


def test_a_missing_file_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"file cannot be read \(No such file or directory\)"):
        read_verified(tmp_path / "file", ABC)
