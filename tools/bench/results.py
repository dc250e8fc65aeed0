"""The file with the results of benchmarks, and the processor that they belong to."""

import json
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path

from shared.distributed import available_cores
from shared.errors import ConfigError
from shared.runs.environment import environment, processor_flags
from shared.training.frameworks import BFLOAT16_INSTRUCTIONS


def results_file(keys: Mapping[str, str], default: Path, cases: Collection[str]) -> Path:
    """Return the file for the results that `out` names, checked before anything is measured.

    Args:
        keys: the words of the command line.
        default: the file without `out`.
        cases: what such a file has results of.

    Raises:
        ConfigError: it cannot be written, or has something else in it.
    """
    file = Path(keys.get("out", default))
    try:
        if not file.parent.exists():
            file.parent.mkdir(parents=True)
        tempfile.TemporaryFile(dir=file.parent).close()
        content = json.loads(file.read_text()) if file.exists() else {}
    except OSError as error:
        raise ConfigError(f"cannot write {file}: {error.strerror}; give out=FILE") from error
    except ValueError:
        content = None
    if not (isinstance(content, dict) and content.keys() <= set(cases)):
        raise ConfigError(f"{file} holds no results of this benchmark; give another file with out=FILE")
    return file


def processor() -> str:
    """Return the kind of this machine's processor, which tells its results from those of others.

    Virtual machines often hide the model's name, so the instructions for bfloat16 are part of it.
    """
    instructions = sorted(BFLOAT16_INSTRUCTIONS & processor_flags())
    hardware = environment("torch", available_cores())["hardware"]
    return ", ".join([hardware["cpu"], *instructions[:1], f"{hardware['cores']} cores"])
