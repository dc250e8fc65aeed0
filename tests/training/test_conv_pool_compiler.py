"""The C code is compiled and measured once; without a compiler, a note or an error says so."""

import errno
import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from apps.mnist_cnn.config import Config
from shared.distributed import print_once
from shared.errors import ConfigError
from shared.training import conv_pool, conv_pool_compiler, pooling_speed
from shared.training.frameworks import resolve_auto
from tests.helpers import ROOT, mnist_config, no_c_compiler

# A compiler whose output, the argument after -o, is an empty file
EMPTY = """sh -c 'while [ "$1" != -o ]; do shift; done; : >"$2"' sh"""


@pytest.fixture(autouse=True)
def nothing_is_compiled_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Compile into an empty folder, and clear the caches afterwards."""
    monkeypatch.setattr(conv_pool, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(conv_pool, "GPUS", ())
    clear_caches()
    yield
    clear_caches()


def clear_caches() -> None:
    conv_pool.kernel_path.cache_clear()
    conv_pool.library.cache_clear()
    print_once.cache_clear()


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A compiler that counts how often it is started, and makes a library of one variable."""
    if reason := no_c_compiler():
        pytest.skip(reason)
    real = os.environ.get("CC") or "cc"
    program, calls = tmp_path / "my cc", tmp_path / "calls"
    program.write_text(
        f'#!/bin/sh\necho "$@" >>"{calls}"\nwhile [ "$1" != -o ]; do shift; done\n'
        f'echo "int made;" | {real} -shared -fPIC -x c -o "$2" -\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("CC", f"'{program}' -pipe")
    return calls


def pooling_of(config: Config) -> str:
    return str(getattr(resolve_auto(config).model, "pooling", None))


def test_the_code_is_compiled_once_for_each_source_and_flags(
    compiler: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = conv_pool.kernel_path()
    assert first.parent == tmp_path / "cache"
    clear_caches()
    assert conv_pool.kernel_path() == first
    assert compiler.read_text().count("\n") == 1
    assert compiler.read_text().startswith("-pipe -std=gnu11")
    clear_caches()
    monkeypatch.setenv("CC", str(os.environ["CC"]) + " -g")
    assert conv_pool.kernel_path() != first
    clear_caches()
    other = tmp_path / "other.c"
    other.write_text(conv_pool.SOURCE.read_text() + "\n")
    monkeypatch.setattr(conv_pool, "SOURCE", other)
    assert conv_pool.kernel_path() != first
    clear_caches()
    monkeypatch.setattr(conv_pool, "processor_flags", lambda: {"another"})
    assert conv_pool.kernel_path().is_file()
    assert compiler.read_text().count("\n") == 4
    assert len(list((tmp_path / "cache").iterdir())) == 4, "and nothing else is left there"


@pytest.mark.parametrize("left", [0, 3000])
def test_a_damaged_library_is_compiled_again(left: int, compiler: Path) -> None:
    place = conv_pool.kernel_path()
    whole = place.read_bytes()
    place.write_bytes(whole[:left])
    clear_caches()
    assert conv_pool.kernel_path().read_bytes() == whole
    assert conv_pool.library().made is not None
    assert compiler.read_text().count("\n") == 2


def test_a_folder_that_cannot_be_written_to(
    compiler: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write fails, as root may write into any folder."""

    def refused(path: Path, content: bytes) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(conv_pool_compiler, "write_atomically", refused)
    assert conv_pool.kernel_path().is_file()
    assert conv_pool.library().made is not None
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_cache_that_is_not_a_folder(compiler: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    place = conv_pool.kernel_path()
    assert place.is_file()
    assert place.parent != tmp_path / "cache"


def test_the_code_compiles_wherever_there_is_a_compiler() -> None:
    """Otherwise an error in the code would only skip tests."""
    if reason := no_c_compiler():
        pytest.skip(reason)
    assert conv_pool.kernel_path().is_file()
    assert conv_pool.library().backward


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("/nowhere/cc -pipe", "there is no C compiler /nowhere/cc: install gcc, or name one in"),
        (" ", "there is no C compiler in the environment variable CC: install gcc"),
        ("gcc '", "the environment variable CC is not a command: No closing quotation"),
        ("sh -c 'echo In it:; echo Error: no flag; exit 3' >&2", "the C compiler .*sh fails: "),
        ("false", "the C compiler .*false fails: exit status 1"),
        ("cp /dev/null", "the C compiler .*cp fails: .*"),
        ("true", "the library that the C compiler .*true made cannot be loaded: .*No such file"),
        (EMPTY, "the library that the C compiler .*sh made cannot be loaded: OSError: .*file too short"),
    ],
)
def test_without_a_compiler(
    command: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`auto` prints a note and falls back, `sparse` is refused."""
    monkeypatch.setenv("CC", command)
    config = mnist_config(tmp_path / "run")
    assert pooling_of(config) == "plain"
    said = capsys.readouterr().err
    assert re.match(f"note: {message}", said)
    assert said.endswith("(to hide this note, set model.pooling=plain)\n")
    assert said.count("\n") == 1
    assert list((tmp_path / "cache").glob("*")) == []
    with pytest.raises(ConfigError, match=message):
        resolve_auto(mnist_config(tmp_path / "run", "model.pooling=sparse"))
    for word in ("model.pooling=plain", "framework=numpy", "model=mlp"):
        resolve_auto(mnist_config(tmp_path / "run", word))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("words", "meaning"),
    [
        ([], "sparse"),
        (["model=fast_cnn"], "sparse"),
        (["framework=keras"], "sparse"),
        (["framework=keras", "model=fast_cnn"], "plain"),
        (["framework=numpy"], "plain"),
        (["trainer.precision=float64"], "plain"),
        (["trainer.compile=true", "trainer.device=cpu"], "plain"),
        (["trainer.device=cuda"], "plain"),
        (["model.pooling=plain"], "plain"),
        (["framework=keras", "model=fast_cnn", "model.pooling=sparse"], "sparse"),
        (["model=mlp"], "None"),  # has no pooling
    ],
    ids=str,
)
def test_auto_selects(
    words: list[str], meaning: str, compiler: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pooling_speed, "measure", lambda config, record: "sparse")
    config = mnist_config(tmp_path / "run", *words)
    assert pooling_of(config) == meaning
    assert compiler.exists() == (meaning == "sparse")


@pytest.mark.parametrize(
    ("words", "meaning"),
    [
        ([], "plain"),
        (["trainer.device=cpu"], "sparse"),
        (["framework=keras"], "sparse"),
        (["model.pooling=sparse"], "sparse"),  # of a run that was recorded on a CPU
    ],
    ids=str,
)
def test_auto_is_plain_where_torch_uses_a_gpu(
    words: list[str], meaning: str, compiler: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pooling_speed, "measure", lambda config, record: "sparse")
    monkeypatch.setattr(conv_pool, "GPUS", (str(tmp_path),))
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    assert pooling_of(mnist_config(tmp_path / "run", *words)) == meaning
    assert compiler.exists() == (meaning == "sparse")


@pytest.fixture
def processor(
    compiler: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[float, float], list[str]]:
    """Set the seconds that plain and sparse take when measured; return the list of measurements."""

    def program(plain: float, sparse: float) -> list[str]:
        measured: list[str] = []

        def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
            if "shared.training.pooling_speed" not in command:
                return real(command, **options)
            measured.append(" ".join(command[3:]))
            seconds = json.dumps({"plain": plain, "sparse": sparse})
            return subprocess.CompletedProcess(command, 0, f"a note\n{seconds}\n", "")

        monkeypatch.setattr(subprocess, "run", run)
        return measured

    real = subprocess.run
    return program


@pytest.mark.parametrize(
    ("plain", "sparse", "meaning"), [(3.0, 2.0, "sparse"), (1.05, 1.0, "plain"), (1.0, 1.5, "plain")]
)
def test_auto_is_measured_once_and_kept(
    plain: float,
    sparse: float,
    meaning: str,
    processor: Callable[[float, float], list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Later runs keep the choice, whatever they would measure: the same seed gives the same bits."""
    measured = processor(plain, sparse)
    config = mnist_config(tmp_path / "run", "trainer.precision=float32")
    assert pooling_of(config) == meaning
    said = capsys.readouterr().err
    share = f"sparse takes {sparse / plain:.0%} of the time of plain"
    assert said.startswith(f"note: model.pooling=auto is {meaning} on this machine: {share}")
    assert said.count("\n") == 1
    assert measured == ["torch float32 26 3 32 64"]
    processor(sparse, plain)
    assert pooling_of(config) == meaning
    assert capsys.readouterr().err == ""


def test_each_network_framework_and_precision_is_measured(
    processor: Callable[[float, float], list[str]], tmp_path: Path
) -> None:
    words = [[], ["model=fast_cnn"], ["framework=keras"], ["trainer.precision=bfloat16"], ["seed=1"]]
    measured = processor(2.0, 1.0)
    for changes in words:
        pooling_of(mnist_config(tmp_path / "run", "trainer.precision=float32", *changes))
    expected = ["torch float32 26 3 32 64", "torch float32 12 5 16 32", "keras float32 26 3 32 64"]
    assert measured == [*expected, "torch bfloat16 26 3 32 64"]


def test_the_first_of_two_measurements_holds_for_both(
    processor: Callable[[float, float], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes measure at once; the other one writes first."""
    processor(2.0, 1.0)
    keep = pooling_speed.keep

    def keep_later(record: Path, choice: str) -> None:
        keep(record, "plain")
        keep(record, choice)

    monkeypatch.setattr(pooling_speed, "keep", keep_later)
    config = mnist_config(tmp_path / "run")
    assert (pooling_of(config), pooling_of(config)) == ("plain", "plain")
    left = [path for path in (tmp_path / "cache").iterdir() if path.suffix != ".so"]
    assert len(left) == 1


def test_a_choice_that_cannot_be_kept_is_not_measured(
    processor: Callable[[float, float], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = processor(1.0, 2.0)
    access, cache = os.access, tmp_path / "cache"
    monkeypatch.setattr(os, "access", lambda path, *mode: path != cache and access(path, *mode))
    assert pooling_of(mnist_config(tmp_path / "run")) == "sparse"
    assert measured == []


def test_auto_is_plain_where_the_kernel_crashes(
    processor: Callable[[float, float], list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    processor(2.0, 1.0)
    run = subprocess.run

    def crash(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        result = run(command, **options)
        result.returncode = -4 * result.stdout.startswith("a note")
        return result

    monkeypatch.setattr(subprocess, "run", crash)
    config = mnist_config(tmp_path / "run")
    assert pooling_of(config) == "plain"
    expected = "note: model.pooling=auto is plain, because it cannot be measured: exit status -4\n"
    assert capsys.readouterr().err == expected
    monkeypatch.setattr(subprocess, "run", run)
    assert pooling_of(config) == "sparse", "nothing has been kept"


@pytest.mark.slow
@pytest.mark.parametrize("words", ["torch bfloat16 26 3 4 8", "keras float32 12 5 4 8"])
def test_both_ways_are_measured(words: str) -> None:
    if reason := no_c_compiler():
        pytest.skip(reason)
    command = [sys.executable, "-m", "shared.training.pooling_speed", *words.split()]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    seconds = json.loads(result.stdout.splitlines()[-1])
    assert set(seconds) == {"plain", "sparse"}
    assert all(0 < value < 10 for value in seconds.values())


@pytest.mark.parametrize(
    "words",
    [["framework=numpy"], ["trainer.precision=float64"], ["trainer.compile=true"], ["trainer.device=cuda"]],
    ids=str,
)
def test_sparse_is_refused_where_it_is_not_supported(words: list[str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.pooling=sparse needs framework=torch or keras"):
        resolve_auto(mnist_config(tmp_path / "run", "model.pooling=sparse", *words))
