"""What a trained network says of given inputs: what all `predict.py` share."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.cli import exit_status_of
from shared.errors import ConfigError, SuiteError
from shared.files import write_result


@dataclass(frozen=True)
class Answer:
    """What is said of one input: the lines to print, and a PNG."""

    text: str
    picture: bytes


@dataclass(frozen=True)
class Question:
    """What an application can be asked, and how.

    Attributes:
        program: the module that is run, "apps.APP.predict".
        description: what it does, in a sentence.
        inputs: what one input is called in the usage, "TEXT".
        meaning: what an input is.
        opened: takes the folder of a run; returns what answers one input. Either may raise a
            SuiteError.
        files: whether an input is the name of a file, after which its picture is called.
    """

    program: str
    description: str
    inputs: str
    meaning: str
    opened: Callable[[Path], Callable[[str], Answer]]
    files: bool = False


def main(question: Question, words: Sequence[str] | None = None) -> int:
    """Do what the command line asks for; return the exit status.

    An input that cannot be answered is said in a line, and the others are still answered: then the
    status is the highest of theirs.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {question.program}", description=question.description)
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder of a finished run")
    parser.add_argument("inputs", nargs="+", metavar=question.inputs, help=question.meaning)
    parser.add_argument(
        "--out",
        "--to",
        "--picture",
        type=Path,
        metavar="PLACE",
        help="a folder for the pictures, or of a single one the file NAME.png; default: RUN/predictions",
    )
    arguments = parser.parse_args(words)
    statuses = [0]

    def action() -> None:
        answer = question.opened(arguments.run)
        places = pictures(question, arguments.run, arguments.inputs, arguments.out)
        for given, place in zip(arguments.inputs, places, strict=True):
            try:
                say(answer(given), place)
            except SuiteError as error:
                print(f"error: {error}", file=sys.stderr, flush=True)
                statuses.append(error.status)

    return exit_status_of(action) or max(statuses)


def say(answer: Answer, place: Path) -> None:
    """Print an answer and write its picture.

    Raises:
        ConfigError: it cannot be written there.
    """
    print(answer.text)
    write_result(place, answer.picture)
    print(f"picture: {place}", flush=True)


def pictures(question: Question, run: Path, inputs: Sequence[str], out: Path | None) -> list[Path]:
    """Return where the picture of each input goes: no two to one place, and none to an input.

    Raises:
        ConfigError: several are to go to one file, or the folder cannot be made.
    """
    if out is not None and out.suffix.lower() == ".png":
        if len(inputs) > 1:
            raise ConfigError(f"{out} is one file for {len(inputs)} pictures: name a folder")
        return [out]
    folder = run / "predictions" if out is None else out
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot make {folder}: {error.strerror}; give --out") from error
    taken = {Path(given).resolve() for given in inputs} if question.files else set()
    places = []
    for given in inputs:
        stem = f"{Path(given).stem}_prediction" if question.files else "prediction"
        place, number = folder / f"{stem}.png", 1
        while place.resolve() in taken:
            number += 1
            place = folder / f"{stem}_{number}.png"
        taken.add(place.resolve())
        places.append(place)
    return places
