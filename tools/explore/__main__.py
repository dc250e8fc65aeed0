"""Write one HTML file in which the network of a finished run can be explored, forward and backward.

    python -m tools.explore RUN [--out FILE]

The page has the run's weights, makes no request and needs no installation: open it in a browser. It shows
runs of xor, mnist_cnn and attention (data=recall), of any framework.

exit status: 0 done, 2 wrong command or a run that the page cannot show, 3 a file missing or damaged,
130 interrupted
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Any

from shared.errors import ConfigError
from shared.output_file import write_result
from shared.runs.folder import WEIGHTS
from tools import cli
from tools.explore.bundle import Bundle
from tools.explore.describe import check_supported, describe
from tools.report.__main__ import script_json, security_policy
from tools.runs import RUN_HELP, open_run

PAGE = Path(__file__).parent / "page"
MEGABYTE = 1_000_000
LIMIT = 15  # megabytes


def main(words: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    parser = cli.parser("explore", __doc__)
    parser.add_argument("run", metavar="RUN", help=RUN_HELP)
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: RUN/explore.html")
    arguments = parser.parse_args(words)
    return cli.run(lambda: write_page(arguments.run, arguments.out))


def write_page(run_name: str, out: Path | None) -> None:
    """Write the page of a run and print its path.

    Raises:
        ConfigError: there is no such run, the page cannot show it, or it would be too large.
        DataError: the run folder is damaged.
    """
    run = open_run(run_name)
    check_supported(run)
    weights = run.folder / WEIGHTS
    if weights.exists():  # refuse before a framework is imported
        check_size(weights.stat().st_size * 4 / 3)
    content = page_html(describe(run)).encode()
    check_size(len(content))
    out = out or run.folder / "explore.html"
    write_result(out, content)
    print(f"wrote {out}: {len(content) / MEGABYTE:.2g} MB; open it in a browser")


def check_size(size: float) -> None:
    """Check that a page of this many bytes is not too large.

    Raises:
        ConfigError: it is.
    """
    if size > LIMIT * MEGABYTE:
        raise ConfigError(
            f"the page would have {size / MEGABYTE:.1f} MB, and the limit is {LIMIT} MB; "
            "train a smaller network"
        )


def page_html(description: dict[str, Any]) -> str:
    """Return the page of a description."""
    style = (PAGE / "style.css").read_text()
    script = Bundle(PAGE / "main.js").script
    return Template((PAGE / "index.html").read_text()).substitute(
        policy=security_policy(style, script, embed=True),
        style=style,
        script=script,
        data=script_json(description),
    )


if __name__ == "__main__":
    sys.exit(main())
