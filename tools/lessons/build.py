"""Executes lessons and writes their pages."""

import os
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat

from shared.errors import ConfigError
from shared.output_file import write_result
from tools import cli
from tools.lessons.notebook import LESSONS, LessonError, execute, sources
from tools.lessons.page import index_page, lesson_page


def build(start: str, out: Path, record: bool) -> int:
    """Execute the lessons whose names begin with `start`; write their pages and the index.

    Raises:
        ConfigError: there is no such lesson, or a page cannot be written.
    """
    names = [path.stem for path in sources()]
    chosen = [path for path in sources() if path.stem.startswith(start)]
    if not chosen:
        raise ConfigError(f"no lesson starts with {start!r}; choose from {', '.join(names)}")
    out.mkdir(parents=True, exist_ok=True)
    failed = 0
    with ThreadPoolExecutor(2) as pool:  # each lesson has a process of its own
        running = [(path.stem, pool.submit(execute, path)) for path in chosen]
        for number, (name, lesson) in enumerate(running, start=1):
            try:
                content = f"{nbformat.writes(lesson.result())}\n".encode()
            except LessonError as error:
                failed += 1
                print(f"error: {error}", file=sys.stderr)
                continue
            for folder in (out, LESSONS) if record else (out,):
                write_result(folder / f"{name}.ipynb", content)
            print(f"[{number}/{len(chosen)}] {name}", file=sys.stderr)
    write_pages({name: path for name in names if (path := out / f"{name}.ipynb").is_file()}, out)
    print(f"wrote {out}/index.html: open it in a browser")
    return cli.FAILED_CHECK if failed else 0


def write_pages(paths: Mapping[str, Path], out: Path) -> None:
    """Write the pages of all executed lessons, because each has links to others, and the index."""
    notebooks = {name: nbformat.read(path, 4) for name, path in paths.items()}
    for name in notebooks:
        write_result(
            out / f"{name}.html", lesson_page(name, notebooks, os.path.relpath(LESSONS, out)).encode()
        )
    write_result(out / "index.html", index_page(notebooks).encode())
