"""Write a new application, a torch network on the embedded digits, from templates/.

    python -m tools.new_app NAME          (make new-app name=NAME)

exit status: 0 written, 2 a name that cannot be used
"""

import importlib.util
import keyword
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from shared.errors import ConfigError
from shared.runs.environment import ROOT
from shared.runs.repeat import PYTHON
from tools import cli

TEMPLATES = Path(__file__).parent / "templates"


def main(words: Sequence[str] | None = None) -> int:
    parser = cli.parser("new_app", __doc__)
    parser.add_argument("name", metavar="NAME", help="lower case, such as fashion_mnist")
    return cli.run(lambda: write_app(parser.parse_args(words).name))


def write_app(name: str) -> None:
    """Write all files of a new application and print their paths.

    Raises:
        ConfigError: the name cannot be used, or a file cannot be written. Nothing is left behind.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]{,23}", name) or keyword.iskeyword(name):
        raise ConfigError(f"{name!r} is not a name: use up to 24 of a-z, 0-9 and _, and no Python keyword")
    if importlib.util.find_spec(name):
        raise ConfigError(f"{name} is another Python package: choose another name")
    templates = sorted(TEMPLATES.rglob("*.txt"))
    paths = [ROOT / str(path.relative_to(TEMPLATES)).replace("NAME", name)[:-4] for path in templates]
    for path in (ROOT / "apps" / name, *paths):
        if path.exists():
            raise ConfigError(f"there is already {path.relative_to(ROOT)}: choose another name")
    try:
        for path, template in zip(paths, templates, strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(template.read_text().replace("NAME", name))
    except OSError as error:
        for path in filter(Path.exists, paths):
            path.unlink()
        shutil.rmtree(ROOT / "apps" / name, ignore_errors=True)
        raise ConfigError(f"cannot write {error.filename}: {error.strerror}") from error
    print(*(path.relative_to(ROOT) for path in paths), sep="\n")
    print(f"try it: {PYTHON} -m apps.{name}")


if __name__ == "__main__":
    sys.exit(main())
