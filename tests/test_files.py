"""Atomic writes and verified reads; tests/data/test_fetch.py fills the disk and kills the process."""

import os
from pathlib import Path

import pytest

from shared.errors import ConfigError, DataError
from shared.files import sha256_of, write_atomically
from shared.input_file import read_verified
from shared.output_file import write_result

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1


def test_the_content_replaces_the_old_one_in_a_file_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    for content in (b"old", b"new"):
        write_atomically(tmp_path / "file", content)
        assert (tmp_path / "file").read_bytes() == content
    assert {path.name for path in tmp_path.iterdir()} == {"file", "plain"}
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_the_digest_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    assert sha256_of(b"abc") == sha256_of(tmp_path / "file") == ABC


def test_a_file_is_read_if_its_digest_is_the_expected_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with pytest.raises(DataError, match=r"file cannot be read \(No such file or directory\)"):
        read_verified(path, ABC)
    path.write_bytes(b"abc")
    assert read_verified(path, ABC) == read_verified(path, ABC[:8]) == b"abc"
    for digest in (ABC[::-1], None, ""):
        with pytest.raises(DataError, match=rf"file is damaged or another file: .* is {ABC[:16]}"):
            read_verified(path, digest)


def test_a_result_replaces_no_pipe_and_is_written_through_a_link(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="pipe: it is not a regular file; choose another name"):
        write_result(tmp_path / "pipe", b"new")
    assert (tmp_path / "pipe").is_fifo()
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    write_result(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"new"
    (tmp_path / "config.yaml").touch()
    (tmp_path / "weights.safetensors").write_bytes(b"weights")
    (tmp_path / "to_weights").symlink_to(tmp_path / "weights.safetensors")
    with pytest.raises(ConfigError, match="to_weights: it belongs to the run"):
        write_result(tmp_path / "to_weights", b"new")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(ConfigError, match="loop: its links form a loop"):
        write_result(tmp_path / "loop", b"new")
