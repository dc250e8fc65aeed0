"""MNIST from each place it can come from, and everything that can be wrong with what comes.

Most tests use a small MNIST: real IDX files with their own digests, in a table of their own. Web
servers are real ones on the loopback interface; no test asks a server elsewhere.
"""

import gzip
import hashlib
import json
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from shared.data import mnist, store
from shared.data.images import ImageData
from shared.errors import DataError

REPOSITORY = Path(__file__).parents[2]


def to_idx(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


def small_arrays() -> dict[str, np.ndarray]:
    """Twenty training and ten test images of noise, by the names of MNIST's files."""
    random = np.random.default_rng(0)
    return {
        mnist.TRAIN_IMAGES: random.integers(0, 256, (20, 28, 28)),
        mnist.TRAIN_LABELS: random.integers(0, 10, 20),
        mnist.TEST_IMAGES: random.integers(0, 256, (10, 28, 28)),
        mnist.TEST_LABELS: random.integers(0, 10, 10),
    }


SMALL = {name: to_idx(array) for name, array in small_arrays().items()}


def published(*mirrors: str) -> store.FileSet:
    """The small MNIST's table of files."""
    files = tuple(
        store.SourceFile(name, len(idx), hashlib.md5(idx).hexdigest(), len(gzip.compress(idx)))
        for name, idx in SMALL.items()
    )
    return store.FileSet("mnist", "MNIST", files, mirrors)


def write_cache(root: Path, **damaged: bytes) -> Path:
    (root / "mnist").mkdir(parents=True)
    for name, idx in SMALL.items():
        (root / "mnist" / name).write_bytes(damaged.get(name, idx))
    return root


def write_archives(folder: Path, **damaged: bytes) -> Path:
    """Write NAME.gz of each file; ``damaged`` replaces whole gzip files by name."""
    (folder / "mnist").mkdir(parents=True)
    for name, idx in SMALL.items():
        (folder / "mnist" / f"{name}.gz").write_bytes(damaged.get(name, gzip.compress(idx)))
    return folder


def assert_small(data: ImageData) -> None:
    arrays = small_arrays()
    np.testing.assert_array_equal(data.train_images, arrays[mnist.TRAIN_IMAGES])
    np.testing.assert_array_equal(data.train_labels, arrays[mnist.TRAIN_LABELS])
    np.testing.assert_array_equal(data.test_images, arrays[mnist.TEST_IMAGES])
    np.testing.assert_array_equal(data.test_labels, arrays[mnist.TEST_LABELS])
    assert not data.embedded


def assert_cache_whole(root: Path) -> None:
    """The cache has every file, right to the last byte, and no temporary file."""
    found = {path.name: path.read_bytes() for path in (root / "mnist").iterdir()}
    assert found == SMALL


@dataclass
class Answer:
    """What a web server sends; ``length`` is the Content-Length it claims."""

    body: bytes = b""
    status: int = 200
    length: int | None = None
    location: str = ""
    seconds: float = 0.0


class Web(ThreadingHTTPServer):
    """A web server on the loopback interface that notes every path it is asked for."""

    def __init__(self, answers: dict[str, Answer]) -> None:
        super().__init__(("127.0.0.1", 0), WebHandler)
        self.answers = answers
        self.requests: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}/"


class WebHandler(BaseHTTPRequestHandler):
    server: Web
    timeout = 10

    def do_GET(self) -> None:
        name = self.path.removeprefix("/")
        self.server.requests.append(name)
        answer = self.server.answers.get(name, Answer(status=404))
        time.sleep(answer.seconds)
        self.send_response(answer.status)
        if answer.location:
            self.send_header("Location", answer.location)
        length = len(answer.body) if answer.length is None else answer.length
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


def all_files(**changes: Answer) -> dict[str, Answer]:
    """Answers of a mirror that has the small MNIST; ``changes`` replaces some, by file name."""
    return {f"{name}.gz": changes.get(name, Answer(gzip.compress(idx))) for name, idx in SMALL.items()}


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[dict[str, Answer]], Web]]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    servers = []

    def start(answers: dict[str, Answer]) -> Web:
        server = Web(answers)
        poll = {"poll_interval": 0.02}
        threading.Thread(target=server.serve_forever, kwargs=poll, daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def nothing_listening(monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a port on this machine where no server is."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/"


# --- the IDX format ---------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5,), (3, 2), (2, 28, 28), (0, 28, 28)])
def test_read_idx_returns_the_array(shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(1).integers(0, 256, shape)
    result = mnist.read_idx(to_idx(array), "a-file")
    np.testing.assert_array_equal(result, array)
    assert result.dtype == np.uint8
    assert result.flags.writeable


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "starts with nothing, expected 00 00 08"),
        (b"\0\0", "starts with 00 00, expected 00 00 08"),
        (b"\0\0\x08", "expected 00 00 08 and the number of dimensions"),
        (gzip.compress(b"not yet decompressed", mtime=0), "starts with 1f 8b"),
        (b"\0\x01\x08\x01\0\0\0\x01A", "starts with 00 01 08 01"),
        (b"\0\0\x0d\x01\0\0\0\x01AAAA", "starts with 00 00 0d 01"),  # 0x0d: float32
        (b"\0\0\x08\0A", "starts with 00 00 08 00"),
        (b"\0\0\x08\x03\0\0\0\x01\0\0", "cut short in the header: 10 bytes, expected 16"),
        (to_idx(np.zeros((2, 3)))[:-1], r"17 bytes, expected 18 .* shape \(2, 3\)"),
        (to_idx(np.zeros((2, 3))) + b"A", "19 bytes, expected 18"),
    ],
)
def test_read_idx_names_the_file_and_what_is_wrong(content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=f"^a-file: .*{message}"):
        mnist.read_idx(content, "a-file")


# --- the order of the places ------------------------------------------------------------------


def test_cache_comes_first(tmp_path: Path, serve: Callable) -> None:
    root = write_cache(tmp_path / "data")
    archives = write_archives(tmp_path / "archives")
    web = serve(all_files())
    said: list[str] = []
    data = mnist.load(root, archives, say=said.append, published=published(web.url))
    assert_small(data)
    assert data.source == f"cache {root / 'mnist'}"
    assert not web.requests
    assert not said


def test_archives_come_before_the_network_and_fill_the_cache(tmp_path: Path, serve: Callable) -> None:
    archives = write_archives(tmp_path / "archives")
    web = serve(all_files())
    data = mnist.load(tmp_path / "data", archives, published=published(web.url))
    assert_small(data)
    assert data.source == f"archives {archives / 'mnist'}"
    assert not web.requests
    assert_cache_whole(tmp_path / "data")


def test_network_comes_last_and_fills_the_cache(tmp_path: Path, serve: Callable) -> None:
    web = serve(all_files())
    root, no_archives = tmp_path / "data", tmp_path / "no such folder"
    data = mnist.load(root, no_archives, published=published(web.url))
    assert_small(data)
    assert data.source == f"network {web.url}"
    assert sorted(web.requests) == sorted(all_files())
    assert_cache_whole(root)

    again = mnist.load(root, no_archives, published=published(web.url))
    assert again.sha256 == data.sha256
    assert again.source.startswith("cache ")
    assert len(web.requests) == 4


def test_only_what_is_missing_is_fetched(tmp_path: Path, serve: Callable) -> None:
    root = write_cache(tmp_path / "data")
    (root / "mnist" / mnist.TEST_LABELS).unlink()
    web = serve(all_files())
    data = mnist.load(root, None, say=lambda _: None, published=published(web.url))
    assert_small(data)
    assert data.source == f"cache {root / 'mnist'}, network {web.url}"
    assert web.requests == [f"{mnist.TEST_LABELS}.gz"]


@pytest.mark.parametrize(
    ("environment", "folder"),
    [({}, None), ({"DATA_ARCHIVES": ""}, None), ({"DATA_ARCHIVES": "some/place"}, "some/place")],
)
def test_an_empty_data_archives_counts_as_unset(environment: dict, folder: str | None) -> None:
    assert store.archives_folder(environment) == (None if folder is None else Path(folder))


# --- damage -----------------------------------------------------------------------------------

GOOD = SMALL[mnist.TRAIN_IMAGES]
DAMAGES = {
    "cut short": (GOOD[:1000], "too short, 1,000 of 15,696 bytes"),
    "empty": (b"", "too short, 0 of 15,696 bytes"),
    "longer": (GOOD + b"A", "too long, more than 15,696 bytes"),
    "wrong magic number": (b"\0\0\x09\x03" + GOOD[4:], "damaged, its MD5 digest is "),
    "one flipped bit": (GOOD[:5000] + bytes([GOOD[5000] ^ 1]) + GOOD[5001:], "damaged, its MD5"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_in_the_cache_is_named_and_repaired(tmp_path: Path, damage: str) -> None:
    content, message = DAMAGES[damage]
    root = write_cache(tmp_path / "data", **{mnist.TRAIN_IMAGES: content})
    archives = write_archives(tmp_path / "archives")
    said: list[str] = []
    data = mnist.load(root, archives, say=said.append, published=published())
    assert_small(data)
    assert_cache_whole(root)
    assert len(said) == 1
    assert said[0].startswith(f"{root / 'mnist' / mnist.TRAIN_IMAGES}: {message}")


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_in_an_archive_is_named_and_the_network_asked(
    tmp_path: Path, serve: Callable, damage: str
) -> None:
    content, message = DAMAGES[damage]
    archives = write_archives(tmp_path / "archives", **{mnist.TRAIN_IMAGES: gzip.compress(content)})
    web = serve(all_files())
    said: list[str] = []
    data = mnist.load(tmp_path / "data", archives, say=said.append, published=published(web.url))
    assert_small(data)
    assert_cache_whole(tmp_path / "data")
    assert web.requests == [f"{mnist.TRAIN_IMAGES}.gz"]
    assert said[0].startswith(f"{archives / 'mnist' / mnist.TRAIN_IMAGES}.gz: {message}")


PACKED = gzip.compress(GOOD, mtime=0)


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
def test_a_damaged_gzip_file_is_named(tmp_path: Path, packed: bytes, message: str) -> None:
    archives = write_archives(tmp_path / "archives", **{mnist.TRAIN_IMAGES: packed})
    with pytest.raises(DataError) as caught:
        mnist.load(tmp_path / "data", archives, False, None, print, published=published())
    assert f"{mnist.TRAIN_IMAGES}: damaged gzip file ({message}" in str(caught.value)
    _, advice = str(caught.value).splitlines()
    assert advice.endswith(f"that holds mnist/{mnist.TRAIN_IMAGES}.gz")  # the others were there
    assert not (tmp_path / "data" / "mnist" / mnist.TRAIN_IMAGES).exists()


# --- the network ------------------------------------------------------------------------------


def test_a_download_is_announced_before_it_starts(tmp_path: Path, serve: Callable) -> None:
    web = serve(all_files())
    requests_at: dict[str, int] = {}
    received: dict[str, tuple[int, int]] = {}

    def say(message: str) -> None:
        requests_at[message] = len(web.requests)

    def progress(name: str, count: int, expected: int) -> None:
        received[name] = (count, expected)

    mnist.load(tmp_path, None, say=say, progress=progress, published=published(web.url))
    assert requests_at == {f"downloading MNIST from {web.url}: 4 files, 0.0 MB": 0}
    sizes = {name: len(gzip.compress(idx)) for name, idx in SMALL.items()}
    assert received == {name: (size, size) for name, size in sizes.items()}


def test_without_download_no_server_is_asked(tmp_path: Path, serve: Callable) -> None:
    web = serve(all_files())
    with pytest.raises(DataError, match="network: downloads are off"):
        mnist.load(tmp_path, None, False, None, published=published(web.url))
    assert not web.requests


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Answer(status=404), "the server answers 404"),
        (Answer(PACKED[:3000], length=len(PACKED)), "damaged gzip file (Compressed file ended"),
        (Answer(b"", length=len(PACKED)), "too short, 0 of"),
        (Answer(b"A" * (5 * len(PACKED))), "more than "),
        (Answer(b"<html>"), "damaged gzip file (Not a gzipped file"),
        (Answer(status=302, location="ftp://127.0.0.1:9/x.gz"), "(unknown url type: ftp)"),
    ],
    ids=["404", "truncated", "empty", "endless", "web page", "redirected to ftp"],
)
def test_a_mirror_that_fails_is_named_and_the_next_one_asked(
    tmp_path: Path, serve: Callable, answer: Answer, message: str
) -> None:
    first, second = serve(all_files(**{mnist.TRAIN_IMAGES: answer})), serve(all_files())
    said: list[str] = []
    data = mnist.load(tmp_path, None, say=said.append, published=published(first.url, second.url))
    assert_small(data)
    assert_cache_whole(tmp_path)
    assert f"{mnist.TRAIN_IMAGES}.gz" in second.requests
    assert any(line.startswith((first.url, f"network {first.url}")) for line in said)
    assert any(message in line for line in said)


def test_a_mirror_that_cannot_be_reached_is_asked_once(
    tmp_path: Path, serve: Callable, nothing_listening: str
) -> None:
    web = serve(all_files())
    said: list[str] = []
    data = mnist.load(tmp_path, None, say=said.append, published=published(nothing_listening, web.url))
    assert_small(data)
    assert data.source == f"network {web.url}"
    refused = [line for line in said if "cannot be reached (Connection refused)" in line]
    assert len(refused) == 1
    assert nothing_listening in refused[0]


def test_a_mirror_that_does_not_answer_is_asked_once(
    tmp_path: Path, serve: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "NETWORK_TIMEOUT", 0.2)
    silent, web = serve(all_files(**{mnist.TRAIN_IMAGES: Answer(seconds=0.6)})), serve(all_files())
    said: list[str] = []
    data = mnist.load(tmp_path, None, say=said.append, published=published(silent.url, web.url))
    assert_small(data)
    assert silent.requests == [f"{mnist.TRAIN_IMAGES}.gz"]
    assert said[1] == f"network {silent.url}: cannot be reached (timed out); looking elsewhere"


# --- MNIST from nowhere -----------------------------------------------------------------------


def test_from_nowhere_the_error_says_each_place_and_what_to_do(
    tmp_path: Path, nothing_listening: str
) -> None:
    with pytest.raises(DataError) as caught:
        mnist.load(
            tmp_path / "data", tmp_path / "archives", fallback=None, published=published(nothing_listening)
        )
    assert caught.value.status == 3
    tried, advice = str(caught.value).splitlines()
    assert tried == (
        f"cannot get MNIST: cache {tmp_path}/data/mnist: not there; "
        f"archives {tmp_path}/archives/mnist: not there; "
        f"network {nothing_listening}: cannot be reached (Connection refused)"
    )
    assert "DATA_ARCHIVES" in advice
    assert all(f"mnist/{name}.gz" in advice for name in SMALL)


def test_from_nowhere_the_digits_stand_in_and_it_is_said(tmp_path: Path) -> None:
    said: list[str] = []
    data = mnist.load(tmp_path, None, download=False, say=said.append, published=published())
    assert data.name == "digits"
    assert data.embedded
    assert "cannot get MNIST: cache" in said[0]
    assert "archives: DATA_ARCHIVES is not set" in said[0]
    assert "embedded sample stands in, 1,797 real handwritten 8x8 digits" in said[1]


def test_an_unknown_fallback_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'digits' or None, not 'letters'"):
        mnist.load(write_cache(tmp_path), None, fallback="letters", published=published())


# --- a cache that cannot be written, full disks, killed and competing processes ---------------

CHILD = """
import json, sys
from pathlib import Path
from shared.data import mnist, store

request = json.loads(sys.argv[1])
files = tuple(store.SourceFile(*file) for file in request["files"])
published = store.FileSet("mnist", "MNIST", files, tuple(request["mirrors"]))
archives = Path(request["archives"]) if request["archives"] else None
if request["file_size_limit"]:
    import resource, signal
    limit = request["file_size_limit"]
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if request["dies_at_limit"]:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it and gets an OSError
store.LOCK_PATIENCE = 0.1
print("ready", flush=True)
sys.stdin.readline()
said = []
data = mnist.load(Path(request["root"]), archives, fallback=None, say=said.append,
                  published=published)
print(json.dumps({"sha256": data.sha256, "source": data.source, "said": said}))
"""


def start_child(
    root: Path,
    archives: Path | None = None,
    mirrors: tuple[str, ...] = (),
    file_size_limit: int = 0,
    dies_at_limit: bool = False,
) -> subprocess.Popen:
    """Start a process that loads the small MNIST; it waits for a line on its standard input."""
    request = {
        "files": [[f.name, f.size, f.md5, f.download_size] for f in published().files],
        "mirrors": mirrors,
        "root": str(root),
        "archives": archives and str(archives),
        "file_size_limit": file_size_limit,
        "dies_at_limit": dies_at_limit,
    }
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, json.dumps(request)],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


def finish(child: subprocess.Popen) -> dict:
    """Let the child go on; return what it reports, nothing where it died."""
    output, _ = child.communicate("go\n", timeout=60)
    return json.loads(output) if output else {}


def test_a_cache_that_cannot_be_written_costs_a_notice(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    root = tmp_path / "file" / "data"  # not even root can make a folder below a file
    archives = write_archives(tmp_path / "archives")
    said: list[str] = []
    data = mnist.load(root, archives, say=said.append, published=published())
    assert_small(data)
    assert said[-1] == (f"{root / 'mnist'}: cannot be written (Not a directory); going on without the cache")


def test_a_full_disk_costs_a_notice_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    root, archives = tmp_path / "data", write_archives(tmp_path / "archives")
    report = finish(start_child(root, archives, file_size_limit=1000))
    assert report["source"] == f"archives {archives / 'mnist'}"
    assert report["said"] == [
        f"{root / 'mnist'}: cannot be written (File too large); going on without the cache"
    ]
    assert list((root / "mnist").iterdir()) == []

    data = mnist.load(root, archives, published=published())
    assert data.sha256 == report["sha256"]
    assert_cache_whole(root)


def test_a_process_killed_while_writing_leaves_nothing_that_is_taken_for_whole(tmp_path: Path) -> None:
    """The system kills the process at the 1,000th byte of the file, in the middle of a write."""
    root, archives = tmp_path / "data", write_archives(tmp_path / "archives")
    child = start_child(root, archives, file_size_limit=1000, dies_at_limit=True)
    assert finish(child) == {}
    assert child.returncode == -signal.SIGXFSZ
    (leftover,) = (root / "mnist").iterdir()
    assert leftover.stat().st_size == 1000
    assert leftover.name not in SMALL

    data = mnist.load(root, archives, say=pytest.fail, published=published())
    assert_small(data)
    assert_cache_whole(root)


def test_two_processes_share_one_download(tmp_path: Path, serve: Callable) -> None:
    slow = Answer(PACKED, seconds=0.8)
    web = serve(all_files(**{mnist.TRAIN_IMAGES: slow}))
    children = [start_child(tmp_path, mirrors=(web.url,)) for _ in range(2)]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    reports = [finish(child) for child in children]
    assert reports[0]["sha256"] == reports[1]["sha256"]
    assert sorted(report["source"].split()[0] for report in reports) == ["cache", "network"]
    assert sorted(web.requests) == sorted(all_files())  # each once
    waited = f"{tmp_path / 'mnist'}: another process is filling this folder; waiting for it"
    assert [waited] in [report["said"] for report in reports]
    assert_cache_whole(tmp_path)


def test_importing_the_loader_imports_no_framework() -> None:
    heavy = {"torch", "torchvision", "tensorflow", "keras", "sklearn", "scipy"}
    code = f"import sys, shared.data.mnist; print(sorted({heavy} & set(sys.modules)))"
    output = subprocess.check_output([sys.executable, "-c", code], cwd=REPOSITORY, text=True)
    assert output == "[]\n"


# --- MNIST itself -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real() -> ImageData:
    archives = store.archives_folder()
    if archives is None:
        pytest.skip("the environment variable DATA_ARCHIVES is not set: no MNIST to read")
    with tempfile.TemporaryDirectory() as root:  # pytest would keep the 55 MB of its own
        first = mnist.load(Path(root), archives, download=False, fallback=None)
        second = mnist.load(Path(root), None, download=False, fallback=None)
    assert first.source.startswith("archives")
    assert second.source.startswith("cache")
    assert second.sha256 == first.sha256
    return second


def test_mnist_has_the_published_shapes_and_counts(real: ImageData) -> None:
    assert real.train_images.shape == (60_000, 28, 28)
    assert real.test_images.shape == (10_000, 28, 28)
    assert np.bincount(real.train_labels).tolist() == [
        5923,
        6742,
        5958,
        6131,
        5842,
        5421,
        5918,
        6265,
        5851,
        5949,
    ]
    assert np.bincount(real.test_labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert real.train_labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert not real.embedded


def test_mnist_has_the_known_mean_and_deviation(real: ImageData) -> None:
    """0.1307 and 0.3081: the constants that MNIST examples normalize with."""
    counts = np.bincount(real.train_images.reshape(-1), minlength=256)
    values = np.arange(256) / 255
    mean = counts @ values / counts.sum()
    deviation = np.sqrt(counts @ (values - mean) ** 2 / counts.sum())
    assert round(mean, 4) == 0.1307
    assert round(deviation, 4) == 0.3081
