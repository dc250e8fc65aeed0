"""Predict with the network of a finished run: for pictures, texts or rows, as its application takes them.

    python -m tools.predict RUN digit.png another.png
    python -m tools.predict RUN "What a waste of a great cast." --out CHART.png

Prints each prediction and writes a chart of it to RUN/predictions, or where --out says. An input
that cannot be answered is reported in a line; the others are still answered.

exit status: 0 done, 2 wrong command or input, 3 a file missing or damaged, 130 interrupted
"""

import sys
from collections.abc import Sequence
from itertools import chain, count
from pathlib import Path

from shared.errors import ConfigError, SuiteError
from shared.output_file import write_result
from tools import cli
from tools.runs import RUN_HELP, open_run


def main(words: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    parser = cli.parser("predict", __doc__)
    parser.add_argument("run", metavar="RUN", help=RUN_HELP)
    parser.add_argument("inputs", nargs="*", metavar="INPUT", help="omit it to see what RUN takes")
    parser.add_argument(
        "--out", type=Path, metavar="PLACE", help="a folder for the charts, or a file for a single one"
    )
    arguments = parser.parse_intermixed_args(words)
    return cli.run(lambda: predict(arguments.run, arguments.inputs, arguments.out))


def predict(run_name: str, inputs: Sequence[str], out: Path | None) -> int:
    """Print and draw what a network predicts for each input; return the exit status.

    Raises:
        ConfigError: there is no such run, or no input, or the application predicts nothing.
    """
    run = open_run(run_name)
    predict_input = run.application.predict
    if predict_input is None:
        raise ConfigError(f"{run.application.name} has nothing to predict")
    if not inputs:
        raise ConfigError(f"give an input: {run.application.input_help}")
    file = out if out is not None and out.suffix.lower() == ".png" else None
    if file and len(inputs) > 1:
        raise ConfigError(f"{file} is one file for {len(inputs)} charts: name a folder")
    folder = out or run.folder / "predictions"
    used = {Path(text).resolve() for text in inputs}
    errors: dict[str, int] = {}
    for text in inputs:
        try:
            prediction = predict_input(run, text)
            if len(inputs) > 1 and text not in prediction.text:
                print(f"{text if len(text) <= 70 else text[:67] + '...'}:")
            print(prediction.text)
            path = file or chart_path(folder, prediction.name, used)
            write_result(path, prediction.chart)
            print(f"chart: {path}", flush=True)
        except SuiteError as error:
            if (message := str(error)) not in errors:  # the same for two inputs: it is about the run
                if len(message) > 400:  # it repeats a long input
                    message = f"{message[:200]} ... {message[-200:]}"
                print(f"error: {message}", file=sys.stderr, flush=True)
            errors[str(error)] = error.status
    return max(errors.values(), default=0)


def chart_path(folder: Path, name: str, used: set[Path]) -> Path:
    """Return a new path in `folder`, which is made, that is not in `used`; add it there.

    Raises:
        ConfigError: the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot make {folder}: {error.strerror}; give --out") from error
    paths = (folder / f"{name}{end}.png" for end in chain([""], (f"_{number}" for number in count(2))))
    path = next(path for path in paths if path.resolve() not in used and not path.exists())
    used.add(path.resolve())
    return path


if __name__ == "__main__":
    sys.exit(main())
