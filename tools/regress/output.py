"""JSON files that are either whole or not there."""

import json
from pathlib import Path
from typing import Any

from shared.files import write_atomically


def write_json(path: Path, content: Any) -> None:
    """Write `content` in one step; NaN is an error, because JSON has none."""
    write_atomically(path, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())
