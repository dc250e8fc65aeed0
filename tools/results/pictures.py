"""The pictures that the documents of an application show, each copied from a recorded run."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from shared.errors import ConfigError
from shared.files import write_atomically
from shared.output_file import write_json
from tools.results.tables import Run, measured_on
from tools.runs import rerun_command


def record_pictures(folder: Path, run: Run, results: Path, documents: Sequence[Path]) -> list[str]:
    """Copy NAME.png of a run folder to APP_NAME.png where a document shows it; return these names.

    Raises:
        ConfigError: no document shows a picture of this run.
    """
    shown = {name for path in documents for name in re.findall(r"/results/(\w+\.png)", path.read_text())}
    pictures = {f"{run['app']}_{path.name}": path for path in sorted(folder.glob("*.png"))}
    if not (names := sorted(shown & pictures.keys())):
        raise ConfigError(f"{folder}: no document shows {', '.join(pictures) or 'its pictures: it has none'}")
    values: Any = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"))
    source = {"command": rerun_command(values)}
    source |= {key: run[key] for key in ("hardware", "versions", "git")}
    file = results / "pictures.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    write_json(file, dict(sorted((known | dict.fromkeys(names, source)).items())))
    for name in names:
        write_atomically(results / name, pictures[name].read_bytes())
    return names


def pictures_block(app: str, results: Path) -> str:
    """Return which runs drew the pictures of an application."""
    records = json.loads((results / "pictures.json").read_text())
    sources: dict[str, list[str]] = {}
    for name, source in records.items():
        if name.startswith(f"{app}_"):
            text = f"`{source['command']}`. {measured_on([source])}"
            sources.setdefault(text, []).append(name.removeprefix(f"{app}_"))
    return "\n\n".join(f"{', '.join(names)}: drawn by {text}" for text, names in sources.items())
