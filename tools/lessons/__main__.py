"""Execute the lessons and write them as pages, with an index, into outputs/lessons/.

    python -m tools.lessons               all lessons
    python -m tools.lessons name=04       the lessons whose names start with 04
    python -m tools.lessons --record      writes the executed notebooks into lessons/, too

Exit status: 0 if every cell ran, 5 if one failed.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from shared.errors import ConfigError
from tools import cli

OUT = Path("outputs/lessons")


def main(words: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    parser = cli.parser("lessons", __doc__)
    parser.add_argument("words", nargs="*", metavar="KEY=VALUE", help="name=START, out=FOLDER")
    help_text = "write the executed notebooks into lessons, too"
    parser.add_argument("--record", action="store_true", help=help_text)
    arguments = parser.parse_args(words)

    def action() -> int:
        keys = cli.parse_keys(arguments.words, ["name", "out"])
        try:
            from tools.lessons.build import build
        except ModuleNotFoundError as error:  # its packages belong to no extra
            raise ConfigError(f"{error.name} is not installed; run make install") from error
        return build(keys.get("name", ""), Path(keys.get("out", OUT)), arguments.record)

    return cli.run(action)


if __name__ == "__main__":
    sys.exit(main())
