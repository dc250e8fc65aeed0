"""Every place that files can come from, and everything that can be wrong with them."""

import gzip
import hashlib
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from shared.data import fetch as module
from shared.data.fetch import FileSet, RemoteFile, fetch
from shared.errors import DataError
from tests.data.web import Answer, Serve
from tests.helpers import ROOT

GOOD = np.random.default_rng(0).bytes(15_000)
FILES = {"images": GOOD, "labels": b"0123456789" * 2}
PACKED = gzip.compress(GOOD, mtime=0)

Capture = pytest.CaptureFixture[str]


def file_set(*mirrors: str) -> FileSet:
    files = (
        RemoteFile(name, len(content), hashlib.md5(content).hexdigest(), len(gzip.compress(content)))
        for name, content in FILES.items()
    )
    return FileSet("set", "SET", tuple(files), mirrors)


def write_cache(root: Path, **damaged: bytes) -> Path:
    (root / "set").mkdir(parents=True)
    for name, content in FILES.items():
        (root / "set" / name).write_bytes(damaged.get(name, content))
    return root


def write_archives(folder: Path, **damaged: bytes) -> Path:
    """Write NAME.gz of each file; `damaged` replaces whole gzip files by name."""
    (folder / "set").mkdir(parents=True)
    for name, content in FILES.items():
        (folder / "set" / f"{name}.gz").write_bytes(damaged.get(name, gzip.compress(content)))
    return folder


def all_files(**changes: Answer) -> dict[str, Answer]:
    """Return the answers of a mirror that has every file; `changes` replaces some, by name."""
    return {
        f"{name}.gz": changes.get(name, Answer(gzip.compress(content))) for name, content in FILES.items()
    }


def cache_content(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (root / "set").iterdir()}


def test_the_cache_comes_first(archives: Path, tmp_path: Path, serve: Serve, capsys: Capture) -> None:
    write_archives(archives)
    web = serve(all_files())
    assert fetch(file_set(web.url), write_cache(tmp_path)) == (FILES, f"cache {tmp_path / 'set'}")
    assert not web.requests
    assert capsys.readouterr().out == ""


def test_archives_come_before_the_network_and_fill_the_cache(
    archives: Path, tmp_path: Path, serve: Serve
) -> None:
    write_archives(archives)
    web = serve(all_files())
    assert fetch(file_set(web.url), tmp_path) == (FILES, f"archives {archives / 'set'}")
    assert not web.requests
    assert cache_content(tmp_path) == FILES


def test_the_network_comes_last_and_fills_the_cache(
    archives: Path, tmp_path: Path, serve: Serve, capsys: Capture
) -> None:
    web = serve(all_files())
    assert fetch(file_set(web.url), tmp_path) == (FILES, f"network {web.url}")
    assert capsys.readouterr().out == f"downloading SET from {web.url}: 2 files, 0.0 MB\n"
    assert cache_content(tmp_path) == FILES
    assert fetch(file_set(web.url), tmp_path)[1].startswith("cache ")
    assert web.requests == list(all_files())


def test_only_missing_files_are_fetched(tmp_path: Path, serve: Serve) -> None:
    (write_cache(tmp_path) / "set" / "labels").unlink()
    web = serve(all_files())
    assert fetch(file_set(web.url), tmp_path) == (FILES, f"cache {tmp_path / 'set'}, network {web.url}")
    assert web.requests == ["labels.gz"]


def test_an_empty_data_archives_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_ARCHIVES", "")
    assert module.archives_folder() is None
    monkeypatch.delenv("DATA_ARCHIVES")
    assert module.archives_folder() is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GOOD[:1000], "too short, 1,000 of 15,000 bytes"),
        (b"", "too short, 0 of 15,000 bytes"),
        (GOOD + b"A", "too long, more than 15,000 bytes"),
        (GOOD[:5000] + bytes([GOOD[5000] ^ 1]) + GOOD[5001:], "damaged, its MD5 digest is "),
    ],
    ids=["cut short", "empty", "longer", "one flipped bit"],
)
def test_damage_is_named_and_repaired_from_the_next_place(
    archives: Path, tmp_path: Path, serve: Serve, capsys: Capture, content: bytes, message: str
) -> None:
    write_cache(tmp_path, images=content)
    write_archives(archives, images=gzip.compress(content))
    web = serve(all_files())
    contents, _ = fetch(file_set(web.url), tmp_path)
    assert contents == cache_content(tmp_path) == FILES
    assert web.requests == ["images.gz"]
    in_cache, in_archives, _ = capsys.readouterr().out.splitlines()
    assert in_cache.startswith(f"{tmp_path}/set/images: {message}")
    assert in_archives.startswith(f"{archives}/set/images.gz: {message}")


@pytest.mark.parametrize(
    ("packed", "message"),
    [
        (PACKED[: len(PACKED) // 2], "Compressed file ended"),  # EOFError
        (GOOD, "Not a gzipped file"),  # BadGzipFile
        (PACKED[:-8] + bytes(8), "CRC check failed"),  # BadGzipFile
        (PACKED[:10] + b"\xff" * 100 + PACKED[110:], "Error -3"),  # zlib.error
    ],
    ids=["truncated", "not gzip", "wrong checksum", "corrupt stream"],
)
def test_a_damaged_gzip_file_is_named(archives: Path, tmp_path: Path, packed: bytes, message: str) -> None:
    write_archives(archives, images=packed)
    with pytest.raises(DataError) as caught:
        fetch(file_set(), tmp_path, download=False)
    problem, advice = str(caught.value).splitlines()
    assert f"images: damaged gzip file ({message}" in problem
    assert advice.endswith("that contains set/images.gz")  # the other was found
    assert "images" not in cache_content(tmp_path)


def test_without_download_no_server_is_asked(archives: Path, tmp_path: Path, serve: Serve) -> None:
    web = serve(all_files())
    with pytest.raises(DataError, match="network: downloads are off"):
        fetch(file_set(web.url), tmp_path, download=False)
    assert not web.requests


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Answer(status=404), "the server answers 404"),
        (Answer(PACKED[:3000], length=len(PACKED)), "damaged gzip file (Compressed file ended"),
        (Answer(b"", length=len(PACKED)), "too short, 0 of"),
        (Answer(b"A" * (5 * len(PACKED))), "the server sends more than "),
        (Answer(b"<html>"), "damaged gzip file (Not a gzipped file"),
    ],
    ids=["404", "truncated", "empty", "endless", "web page"],
)
def test_a_mirror_that_fails_is_named_and_the_next_one_asked(
    archives: Path, tmp_path: Path, serve: Serve, capsys: Capture, answer: Answer, message: str
) -> None:
    first, second = serve(all_files(images=answer)), serve(all_files())
    contents, source = fetch(file_set(first.url, second.url), tmp_path)
    assert contents == cache_content(tmp_path) == FILES
    assert source == f"network {first.url}, network {second.url}"
    assert second.requests == ["images.gz"]
    assert f"{first.url}images.gz: {message}" in capsys.readouterr().out


def test_a_mirror_that_cannot_be_reached_is_asked_once(
    archives: Path,
    tmp_path: Path,
    serve: Serve,
    closed_port: str,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "NETWORK_TIMEOUT", 0.2)
    silent, web = serve(all_files(images=Answer(seconds=0.6))), serve(all_files())
    _, source = fetch(file_set(closed_port, silent.url, web.url), tmp_path)
    assert source == f"network {web.url}"
    assert silent.requests == ["images.gz"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == f"network {closed_port}: cannot be reached (Connection refused)"
    assert lines[3] == f"network {silent.url}: cannot be reached (timed out)"
    assert len(lines) == 5


def test_the_error_lists_every_place_and_what_to_do(archives: Path, tmp_path: Path, closed_port: str) -> None:
    with pytest.raises(DataError) as caught:
        fetch(file_set(closed_port), tmp_path)
    assert caught.value.status == 3
    assert str(caught.value).splitlines() == [
        f"cannot get SET: cache {tmp_path}/set: not there; archives {archives}/set: not there; "
        f"network {closed_port}: cannot be reached (Connection refused)",
        "allow the download, or set the environment variable DATA_ARCHIVES to a folder that contains "
        "set/images.gz, set/labels.gz",
    ]


# --- a cache that cannot be written, full disks, killed and competing processes ---------------

CHILD = """
import resource, signal, sys
from pathlib import Path
from shared.data import fetch
from shared.data.fetch import FileSet, RemoteFile

resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
{setup}
fetch.LOCK_PATIENCE = 0.1
print("ready", flush=True)
sys.stdin.readline()
print(fetch.fetch({file_set}, Path({root!r}))[1])
"""
FULL_DISK = "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))"
# Python ignores the signal and gets an OSError, unless it is told otherwise.
DEATH = f"{FULL_DISK}; signal.signal(signal.SIGXFSZ, signal.SIG_DFL)"


def start_child(root: Path, *mirrors: str, setup: str = "") -> subprocess.Popen[str]:
    """Start a process that fetches the files; it waits for a line on its standard input."""
    program = CHILD.format(setup=setup, file_set=file_set(*mirrors), root=str(root))
    child = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


def finish(child: subprocess.Popen[str]) -> list[str]:
    """Let the child continue; return the lines that it prints, the source last."""
    output, _ = child.communicate("go\n", timeout=60)
    return output.splitlines()


def test_a_cache_that_cannot_be_written_is_reported(archives: Path, tmp_path: Path, capsys: Capture) -> None:
    write_archives(archives)
    (tmp_path / "file").touch()
    root = tmp_path / "file" / "data"  # not even root can make a folder below a file
    assert fetch(file_set(), root)[0] == FILES
    assert capsys.readouterr().out == (
        f"{root / 'set'}: cannot be written (Not a directory); continuing without the cache\n"
    )


def test_a_full_disk_is_reported_and_leaves_no_partial_file(archives: Path, tmp_path: Path) -> None:
    write_archives(archives)
    assert finish(start_child(tmp_path, setup=FULL_DISK)) == [
        f"{tmp_path / 'set'}: cannot be written (File too large); continuing without the cache",
        f"archives {archives / 'set'}",
    ]
    assert cache_content(tmp_path) == {}


def test_a_process_killed_while_writing_leaves_no_file_that_looks_complete(
    archives: Path, tmp_path: Path, capsys: Capture
) -> None:
    """The system kills the process at the 1,000th byte of the file, in the middle of a write."""
    write_archives(archives)
    child = start_child(tmp_path, setup=DEATH)
    assert finish(child) == []
    assert child.returncode == -signal.SIGXFSZ
    ((name, content),) = cache_content(tmp_path).items()
    assert len(content) == 1000
    assert name not in FILES
    assert fetch(file_set(), tmp_path)[0] == cache_content(tmp_path) == FILES
    assert capsys.readouterr().out == ""


def test_two_processes_share_one_download(archives: Path, tmp_path: Path, serve: Serve) -> None:
    web = serve(all_files(images=Answer(PACKED, seconds=0.8)))
    children = [start_child(tmp_path, web.url) for _ in range(2)]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    waiting, downloading = sorted((finish(child) for child in children), key=lambda lines: lines[-1])
    assert waiting == [
        f"{tmp_path / 'set'}: another process is filling this folder; waiting for it",
        f"cache {tmp_path / 'set'}",
    ]
    assert downloading[-1] == f"network {web.url}"
    assert web.requests == list(all_files())  # each once
    assert cache_content(tmp_path) == FILES
