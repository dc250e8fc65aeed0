"""The pictures that the documents of an application show, each copied from a recorded run."""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from shared.errors import ConfigError
from shared.files import write_atomically
from shared.output_file import write_json
from shared.runs.reader import read_values
from tools.results.tables import Run, measured_on, read_record
from tools.runs import rerun_command


def record_pictures(folder: Path, run: Run, results: Path, documents: Sequence[Path]) -> list[str]:
    """Copy NAME.png of a run folder to APP_NAME.png where a document shows it; return these names.

    Raises:
        ConfigError: no document shows a picture of this run.
    """
    pictures = {f"{run['app']}_{path.name}": path for path in sorted(folder.glob("*.png"))}
    if not (names := sorted(shown_pictures(documents) & pictures.keys())):
        raise ConfigError(f"{folder}: no document shows {', '.join(pictures) or 'its pictures: it has none'}")
    source = {"command": rerun_command(read_values(folder))}
    source |= {key: run[key] for key in ("hardware", "versions", "git")}
    file = results / "pictures.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    write_json(file, dict(sorted((known | dict.fromkeys(names, source)).items())))
    for name in names:
        write_atomically(results / name, pictures[name].read_bytes())
    return names


def shown_pictures(documents: Iterable[Path]) -> set[str]:
    """Return the names of the pictures of docs/results that documents show."""
    return {name for path in documents for name in re.findall(r"/results/(\w+\.png)", path.read_text())}


def pictures_block(app: str, results: Path) -> str:
    """Return which runs drew the pictures of an application."""
    records = read_record(results / "pictures.json")
    sources: dict[str, list[str]] = {}
    for name, source in records.items():
        if name.startswith(f"{app}_"):
            text = f"`{source['command']}`. {measured_on([source])}"
            sources.setdefault(text, []).append(name.removeprefix(f"{app}_"))
    return "\n\n".join(f"{', '.join(names)}: drawn by {text}" for text, names in sources.items())
