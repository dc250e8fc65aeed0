"""Results of one case by seed, read from JSON and validated.

    {"case": "my_model", "dataset": "flowers", "dataset_sha256": "...", "embedded": false,
     "test_examples": 5000, "config": {"lr": 0.1}, "seeds": [0, 1, 2],
     "runs": [{"seed": 0, "test_accuracy": 0.912, "test_loss": 0.31, "train_seconds": 12.5}, ...]}

Only `runs` is required, with `seed`, `test_accuracy` and `test_loss` in each run. The other keys must be
the same in both records: results on different data or with different configurations are not compared.
`seeds` lists the seeds that were meant to run; one without a run counts as failed. A file holds one
record or `{"cases": [record, ...]}`.
"""

import json
import math
import reprlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

DATA_KEYS = ("dataset", "dataset_sha256", "embedded", "test_examples")
DONE = "done"
LARGEST = 1e100  # sums and squares of larger numbers might overflow
DEEPEST = 50  # nested objects and lists; Python itself gives up after some hundreds


class InvalidResults(Exception):
    """The results cannot be read or compared; the message is one line for the user."""


@dataclass(frozen=True)
class Run:
    """One training."""

    seed: int
    accuracy: Any = None  # share of correctly classified test examples
    loss: Any = None  # mean loss over the test examples
    seconds: float | None = None  # training time, if it was measured
    status: str = DONE  # or a word for how the run ended instead
    error: str = ""  # the error message of a run that is not done

    @property
    def problem(self) -> str | None:
        """Why this run fails the case whatever the other runs did, or None."""
        if self.status != DONE:
            return f"seed {self.seed}: {self.status}{': ' if self.error else ''}{self.error}"
        for name, value in (("accuracy", self.accuracy), ("loss", self.loss)):
            if isinstance(value, bool) or not isinstance(value, int | float):
                return f"seed {self.seed}: {name} is {reprlib.repr(value)}, which is not a number"
            if not math.isfinite(value):
                return f"seed {self.seed}: {name} is {value}"
        if not 0 <= self.accuracy <= 1:
            return f"seed {self.seed}: an accuracy of {self.accuracy:g} is impossible"
        if self.loss < 0 or not _is_number(self.loss):
            return f"seed {self.seed}: a loss of {self.loss:g} is impossible"
        return None

    def as_json(self) -> dict[str, Any]:
        """Return what `parse_records` reads; NaN and infinity as strings, because JSON lacks them."""
        accuracy, loss = (
            str(value) if isinstance(value, float) and not math.isfinite(value) else value
            for value in (self.accuracy, self.loss)
        )
        scores = {"test_accuracy": accuracy, "test_loss": loss, "train_seconds": self.seconds}
        end = {} if self.status == DONE else {"status": self.status, "error": self.error}
        return {"seed": self.seed, **scores, **end}


@dataclass(frozen=True)
class Record:
    """The runs of one case, and what they depend on."""

    case: str
    runs: tuple[Run, ...]  # one for each seed
    facts: Mapping[str, Any] = field(default_factory=dict)  # DATA_KEYS and config, as far as known
    notes: Mapping[str, Any] = field(default_factory=dict)  # everything else: versions, hardware, date

    @property
    def test_examples(self) -> int | None:
        """The size of the test set, or None if it is unknown."""
        return self.facts.get("test_examples")

    def as_json(self) -> dict[str, Any]:
        """Return what `parse_records` reads."""
        runs = [run.as_json() for run in self.runs]
        return {"case": self.case, **self.facts, **self.notes, "runs": runs}

    def check_baseline(self, min_seeds: int, origin: str = "") -> None:
        """Check that this record, of the file `origin`, can serve as a baseline.

        Raises:
            InvalidResults: it has too few seeds, or a run with a problem.
        """
        place = f"{origin}: {self.case}" if origin else self.case
        if len(self.runs) < min_seeds:
            raise InvalidResults(f"{place}: the baseline has {len(self.runs)} seeds, {min_seeds} are needed")
        for problem in filter(None, (run.problem for run in self.runs)):
            raise InvalidResults(f"{place}: the baseline is damaged: {problem}")


def parse_records(text: str | bytes, origin: str) -> list[Record]:
    """Return the records in a JSON text, the content of the file `origin`.

    A score that is not a number is no error here: its run has failed.

    Raises:
        InvalidResults: the text is not such a file, a value has the wrong type or range, a run has no
            seed, or a seed or case is duplicated.
    """
    content = _load(text, origin)
    entries = content.get("cases", [content]) if isinstance(content, dict) else content
    if not isinstance(entries, list) or not entries:
        raise InvalidResults(f"{origin} holds no cases")
    records = [_record(entry, origin) for entry in entries]
    _check_unique((record.case for record in records), f"{origin}: case")
    return records


def differences(baseline: Record, new: Record) -> Iterator[str]:
    """Yield the differences of data and configuration that forbid a comparison."""
    for key in DATA_KEYS:
        if baseline.facts.get(key) != new.facts.get(key):
            yield f"{key}: {_shorten(baseline.facts.get(key))} -> {_shorten(new.facts.get(key))}"
    old, now = (_flatten("config", record.facts.get("config")) for record in (baseline, new))
    for key in sorted(old.keys() | now.keys()):
        if key not in old or key not in now or old[key] != now[key]:
            before, after = (_shorten(values[key]) if key in values else "absent" for values in (old, now))
            yield f"{key}: {before} -> {after}"


def _load(text: str | bytes, origin: str) -> Any:
    """Return the content of a JSON text; unlike `json.loads`, refuse an object with a duplicate key."""

    def unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        for key, count in Counter(key for key, _ in pairs).items():
            if count > 1:
                raise InvalidResults(f"{origin}: duplicate key {_printable(key)}")
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise InvalidResults(f"{origin} is not JSON: {error}") from error


def _record(entry: Any, origin: str) -> Record:
    if not isinstance(entry, dict) or not isinstance(entry.get("runs"), list):
        raise InvalidResults(f'{origin}: a case is {{"case": NAME, "runs": [...]}}')
    others = dict(entry)
    case, runs, seeds = others.pop("case", "results"), others.pop("runs"), others.pop("seeds", None)
    readable = isinstance(case, str) and case.strip() != "" and case.isprintable()
    _expect(readable, f"{origin}: case", "a name", case)
    place = f"{origin}: {case}"
    runs = [_run(run, f"{place}: runs[{number}]") for number, run in enumerate(runs)]
    seeds = [] if seeds is None else seeds
    whole = isinstance(seeds, list) and all(map(_is_whole, seeds))
    _expect(whole, f"{place}: seeds", "a list of whole numbers", seeds)
    known = [run.seed for run in runs]
    _check_unique(known, f"{place}: seed")
    _check_unique(seeds, f"{place}: seed")
    runs += [Run(seed, status="failed", error="no result") for seed in seeds if seed not in known]
    if not runs:
        raise InvalidResults(f"{place} has no runs")
    for key, value in others.items():
        _check_writable(value, f"{place}: {_printable(key)}")
    size = others.get("test_examples")
    counted = size is None or (_is_whole(size) and size > 0)
    _expect(counted, f"{place}: test_examples", "a whole number, 1 or more", size)
    facts = {key: others.pop(key) for key in (*DATA_KEYS, "config") if key in others}
    return Record(case, tuple(runs), facts, others)


def _run(run: Any, place: str) -> Run:
    if not isinstance(run, dict) or not _is_whole(run.get("seed")):
        raise InvalidResults(f"{place}: a run has no seed: {reprlib.repr(run)}")
    accuracy, loss, seconds = (run.get(key) for key in ("test_accuracy", "test_loss", "train_seconds"))
    for key, score in (("test_accuracy", accuracy), ("test_loss", loss)):
        # A diverged training may well report NaN, infinity or a word; but never these.
        huge = isinstance(score, int) and not isinstance(score, bool) and not _is_number(score)
        _expect(not huge and not isinstance(score, dict | list), f"{place}.{key}", "a number", score)
    timed = seconds is None or (_is_number(seconds) and seconds >= 0)
    _expect(timed, f"{place}.train_seconds", "a number, 0 or more", seconds)
    status = DONE if run.get("status") is None else run["status"]
    error = "" if run.get("error") is None else run["error"]
    _expect(isinstance(status, str), f"{place}.status", "a text", status)
    _expect(isinstance(error, str), f"{place}.error", "a text", error)
    return Run(run["seed"], accuracy, loss, seconds, status, error)


def _expect(condition: bool, place: str, expected: str, value: Any) -> None:
    if not condition:
        raise InvalidResults(f"{place} should be {expected} (given {reprlib.repr(value)})")


def _is_number(value: Any) -> bool:
    """Whether a value is a finite number of a usual size; booleans are not numbers."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and _is_number(value)


def _printable(key: Any) -> str:
    """Return a key for a message: unquoted if it is one short line."""
    text = str(key)
    return text if text.isprintable() and len(text) <= 40 else reprlib.repr(text)


def _check_writable(value: Any, place: str, depth: int = 1) -> None:
    """Check that a value can be written as JSON again: all numbers are finite, and it is not too deep."""
    if isinstance(value, dict | list):
        if depth > DEEPEST:
            raise InvalidResults(f"{place[:80]}: nested more than {DEEPEST} deep")
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            _check_writable(inner, f"{place}.{_printable(key)}", depth + 1)
    elif isinstance(value, float):
        _expect(_is_number(value), place, "a finite number, 1e100 at most", value)


def _check_unique(values: Iterable[Any], what: str) -> None:
    for value, count in Counter(values).most_common(1):
        if count > 1:
            raise InvalidResults(f"{what} {value} occurs {count} times")


def _flatten(name: str, value: Any) -> dict[str, Any]:
    """Return every value in nested dicts by its dotted key; an empty dict leaves nothing."""
    if not isinstance(value, Mapping):
        return {name: value}
    return {key: v for inner in value for key, v in _flatten(f"{name}.{inner}", value[inner]).items()}


def _shorten(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 16 or " " in text else f"{text[:12]}..."
