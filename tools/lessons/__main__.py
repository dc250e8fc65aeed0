"""Execute the lessons and write them as pages, with an index, into outputs/lessons/.

    python -m tools.lessons               all lessons
    python -m tools.lessons name=04       the lessons whose names start with 04
    python -m tools.lessons --record      writes the executed notebooks into lessons/, too

Exit status: 0 if every cell ran, 5 if one failed.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat

from shared.errors import ConfigError
from shared.output_file import write_result
from tools import cli
from tools.lessons.notebook import LESSONS, LessonError, execute, sources
from tools.lessons.page import index_page, lesson_page

OUT = Path("outputs/lessons")


def main(words: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    parser = cli.parser("lessons", __doc__)
    parser.add_argument("words", nargs="*", metavar="KEY=VALUE", help="name=START, out=FOLDER")
    help_text = f"write the executed notebooks into {LESSONS.name}/, too"
    parser.add_argument("--record", action="store_true", help=help_text)
    arguments = parser.parse_args(words)
    keys = cli.parse_keys(arguments.words, ["name", "out"])
    return cli.run(lambda: build(keys.get("name", ""), Path(keys.get("out", OUT)), arguments.record))


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


if __name__ == "__main__":
    sys.exit(main())
