"""Results of one case by seed: metrics, runs, and what they depend on; read from JSON and validated.

    {"accuracy_gate": 1, "case": "flowers",
     "metrics": {"accuracy": {"goal": "max", "range": [0, 1], "examples": 5000}, "loss": {"goal": "min"}},
     "facts": {"dataset": "flowers-102", "config": {"lr": 0.1}},
     "runs": [{"seed": 0, "scores": {"accuracy": 0.912, "loss": 0.31}, "seconds": 12.5}, ...]}

`schema.json` describes the format. `facts` must be the same on both sides: results on different data or
with different configurations are not compared. A score may be an object of scores: its slices, such as
the accuracy of each class. A file holds one case or `{"cases": [...]}`.
"""

import json
import math
import reprlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

VERSION = 1
DONE = "done"
LARGEST = 1e100  # sums and squares of larger numbers might overflow
DEEPEST = 50  # nested objects and lists; Python itself gives up after some hundreds
MIN_BASELINE_SEEDS = 5  # with fewer, hardly any order is rare enough
KEYS = ("accuracy_gate", "case", "metrics", "facts", "notes", "seeds", "runs")


class InvalidResults(Exception):
    """The results cannot be read or compared; the message is one line for the user."""


@dataclass(frozen=True)
class Metric:
    """How to read a score."""

    goal: str  # max or min, whichever is better
    margin: float | None = None  # worse by no more than this does not matter
    range: tuple[float | None, float | None] = (None, None)  # lowest and highest possible score
    examples: int | None = None  # the score is a share of this many test examples

    @property
    def sign(self) -> int:
        """The factor that makes higher scores better."""
        return 1 if self.goal == "max" else -1

    @property
    def is_share(self) -> bool:
        """Whether the best possible score is known, so that errors can be halved."""
        return None not in self.range

    def problem(self, score: Any) -> str | None:
        """Return why no run can have this score, or None."""
        if isinstance(score, bool) or not isinstance(score, int | float):
            return f"is {reprlib.repr(score)}, which is not a number"
        if not math.isfinite(score):
            return f"is {score}"
        low, high = self.range
        if abs(score) > LARGEST or (low is not None and score < low) or (high is not None and score > high):
            return f"of {score:g} is impossible"
        return None

    def as_json(self) -> dict[str, Any]:
        """Return the JSON object, without defaults."""
        given = {"margin": self.margin, "range": list(self.range), "examples": self.examples}
        return {"goal": self.goal, **{k: v for k, v in given.items() if v not in (None, [None, None])}}


@dataclass(frozen=True)
class Run:
    """One run of the program."""

    seed: int
    scores: Mapping[str, Any] = field(default_factory=dict)  # by metric; slices as "metric.slice"
    seconds: float | None = None  # how long it took, if that was measured
    status: str = DONE  # or a word for how the run ended instead
    error: str = ""  # the error message of a run that is not done

    def __post_init__(self) -> None:
        scores = {key: v for name in self.scores for key, v in flatten(name, self.scores[name]).items()}
        object.__setattr__(self, "scores", scores)

    def as_json(self) -> dict[str, Any]:
        """Return the JSON object; NaN and infinity become strings, because JSON lacks them."""
        scores = {
            name: str(score) if isinstance(score, float) and not math.isfinite(score) else score
            for name, score in self.scores.items()
        }
        end = {} if self.status == DONE else {"status": self.status, "error": self.error}
        return {"seed": self.seed, "scores": scores, "seconds": self.seconds, **end}


@dataclass(frozen=True)
class Results:
    """The runs of one case."""

    case: str
    metrics: Mapping[str, Metric]
    runs: tuple[Run, ...]  # one for each seed, in the order in which they were made
    facts: Mapping[str, Any] = field(default_factory=dict)  # data and configuration
    notes: Mapping[str, Any] = field(default_factory=dict)  # what may differ: versions, hardware, date

    @cached_property
    def columns(self) -> dict[str, str]:
        """The metric of each column of scores: a metric is one column, or one for each of its slices."""
        known = dict.fromkeys(key for run in self.runs if run.status == DONE for key in run.scores)
        return {
            key: name
            for name in self.metrics
            for key in [key for key in known if key == name or key.startswith(f"{name}.")] or [name]
        }

    def problem(self, run: Run) -> str | None:
        """Return why a run fails the case whatever the other runs did, or None."""
        if run.status != DONE:
            return f"seed {run.seed}: {run.status}{': ' if run.error else ''}{run.error}"
        for key, name in self.columns.items():
            if found := self.metrics[name].problem(run.scores.get(key)):
                return f"seed {run.seed}: {key} {found}"
        return None

    @property
    def problems(self) -> Iterator[str]:
        """The problems of all runs."""
        return filter(None, map(self.problem, self.runs))

    def values(self, column: str) -> list[float]:
        """Return a column's score of every run."""
        return [run.scores[column] for run in self.runs]

    def as_json(self) -> dict[str, Any]:
        """Return what `parse` reads."""
        metrics = {name: metric.as_json() for name, metric in self.metrics.items()}
        runs = [run.as_json() for run in self.runs]
        head = {"accuracy_gate": VERSION, "case": self.case, "metrics": metrics}
        return {**head, "facts": dict(self.facts), "notes": dict(self.notes), "runs": runs}

    @classmethod
    def from_json(cls, entry: Any, origin: str = "results") -> "Results":
        """Return the results in a JSON object of the file `origin`.

        A score that is not a number is no error here: its run has failed.

        Raises:
            InvalidResults: a value has the wrong type or range, a key is unknown, another version wrote
                the object, or a seed is missing or duplicated.
        """
        if not isinstance(entry, dict) or not isinstance(entry.get("runs"), list):
            raise InvalidResults(f'{origin}: a case is {{"accuracy_gate": {VERSION}, "runs": [...]}}')
        version = entry.get("accuracy_gate")
        if version != VERSION or isinstance(version, bool):
            found = reprlib.repr(version)
            raise InvalidResults(f"{origin}: format version {found}; this program reads version {VERSION}")
        for key in entry.keys() - set(KEYS):
            raise InvalidResults(f"{origin}: unknown key {_printable(key)}")
        case = entry.get("case", "results")
        readable = isinstance(case, str) and case.strip() != "" and case.isprintable()
        _expect(readable, f"{origin}: case", "a name", case)
        place = f"{origin}: {case}"
        metrics: Any = entry.get("metrics")
        _expect(isinstance(metrics, dict) and metrics != {}, f"{place}: metrics", "an object", metrics)
        runs = [_run(run, f"{place}: runs[{number}]") for number, run in enumerate(entry["runs"])]
        seeds = entry.get("seeds") or []
        whole = isinstance(seeds, list) and all(map(_is_whole, seeds))
        _expect(whole, f"{place}: seeds", "a list of whole numbers", seeds)
        known = [run.seed for run in runs]
        _check_unique(known, f"{place}: seed")
        _check_unique(seeds, f"{place}: seed")
        runs += [Run(seed, status="failed", error="no result") for seed in seeds if seed not in known]
        if not runs:
            raise InvalidResults(f"{place} has no runs")
        for key in ("facts", "notes"):
            _expect(isinstance(entry.get(key, {}), dict), f"{place}: {key}", "an object", entry.get(key))
            _check_writable(entry.get(key), f"{place}: {key}")
        metrics = {name: read_metric(metrics[name], f"{place}: {_printable(name)}") for name in metrics}
        return cls(case, metrics, tuple(runs), entry.get("facts", {}), entry.get("notes", {}))


@dataclass(frozen=True)
class Baseline(Results):
    """Results to compare with.

    Raises:
        InvalidResults: there are too few runs, or one has a problem.
    """

    def __post_init__(self) -> None:
        check_baseline_seeds(self.case, len(self.runs))
        for problem in self.problems:
            raise InvalidResults(f"{self.case}: the baseline is damaged: {problem}")


def check_baseline_seeds(case: str, count: int) -> None:
    """Check that `count` seeds are enough for a baseline.

    Raises:
        InvalidResults: they are not.
    """
    if count < MIN_BASELINE_SEEDS:
        raise InvalidResults(f"{case}: a baseline needs {MIN_BASELINE_SEEDS} seeds or more, it has {count}")


def parse(text: str | bytes, origin: str) -> list[Results]:
    """Return the cases in a JSON text, the content of the file `origin`.

    Raises:
        InvalidResults: the text is not such a file.
    """
    content = load_json(text, origin)
    entries = content.get("cases", [content]) if isinstance(content, dict) else content
    if not isinstance(entries, list) or not entries:
        raise InvalidResults(f"{origin} holds no cases")
    cases = [Results.from_json(entry, origin) for entry in entries]
    _check_unique((results.case for results in cases), f"{origin}: case")
    return cases


def differences(baseline: Results, new: Results) -> Iterator[str]:
    """Yield the differences of data, configuration and metrics that forbid a comparison."""
    old, now = (
        flatten("", {**results.facts, "metrics": {n: _nature(m) for n, m in results.metrics.items()}})
        for results in (baseline, new)
    )
    for key in dict.fromkeys([*old, *now]):
        if key not in old or key not in now or old[key] != now[key]:
            before, after = (_shorten(values[key]) if key in values else "absent" for values in (old, now))
            yield f"{key}: {before} -> {after}"
    if baseline.metrics.keys() == new.metrics.keys() and any(run.status == DONE for run in new.runs):
        for key in baseline.columns.keys() ^ new.columns.keys():
            yield f"{key} is only in {'the baseline' if key in baseline.columns else 'the new results'}"


def _nature(metric: Metric) -> dict[str, Any]:
    """Return what two sides must agree on: the margin is the baseline's choice."""
    return {key: value for key, value in metric.as_json().items() if key != "margin"}


def load_json(text: str | bytes, origin: str) -> Any:
    """Return the content of a JSON text; unlike `json.loads`, refuse an object with a duplicate key.

    Raises:
        InvalidResults: the text is not JSON.
    """

    def unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        for key, count in Counter(key for key, _ in pairs).items():
            if count > 1:
                raise InvalidResults(f"{origin}: duplicate key {_printable(key)}")
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise InvalidResults(f"{origin} is not JSON: {error}") from error


def flatten(name: str, value: Any) -> dict[str, Any]:
    """Return every value in nested dicts by its dotted key; an empty dict leaves nothing."""
    if not isinstance(value, Mapping):
        return {name: value}
    prefix = f"{name}." if name else ""
    return {key: v for inner in value for key, v in flatten(f"{prefix}{inner}", value[inner]).items()}


def read_metric(entry: Any, place: str) -> Metric:
    """Return the metric in a JSON object; `place` is for the message.

    Raises:
        InvalidResults: it is none.
    """
    known = isinstance(entry, dict) and entry.get("goal") in ("max", "min")
    _expect(known, place, 'an object with "goal": "max" or "min"', entry)
    for key in entry.keys() - {"goal", "margin", "range", "examples"}:
        raise InvalidResults(f"{place}: unknown key {_printable(key)}")
    margin, examples = entry.get("margin"), entry.get("examples")
    bounds = entry.get("range", [0, 1] if examples else [None, None])
    fitting = margin is None or (_is_number(margin) and margin >= 0)
    _expect(fitting, f"{place}.margin", "a number, 0 or more", margin)
    pair = isinstance(bounds, list | tuple) and len(bounds) == 2
    fitting = pair and all(bound is None or _is_number(bound) for bound in bounds)
    rising = fitting and (None in bounds or bounds[0] < bounds[1])
    _expect(rising, f"{place}.range", "[lowest, highest], each a number or null", bounds)
    counted = examples is None or (_is_whole(examples) and examples > 0)
    _expect(counted, f"{place}.examples", "a whole number, 1 or more", examples)
    return Metric(entry["goal"], margin, (bounds[0], bounds[1]), examples)


def _run(run: Any, place: str) -> Run:
    if not isinstance(run, dict) or not _is_whole(run.get("seed")):
        raise InvalidResults(f"{place}: a run has no seed: {reprlib.repr(run)}")
    for key in run.keys() - {"seed", "scores", "seconds", "status", "error"}:
        raise InvalidResults(f"{place}: unknown key {_printable(key)}")
    scores, seconds = run.get("scores", {}), run.get("seconds")
    _expect(isinstance(scores, dict), f"{place}.scores", "an object", scores)
    _check_writable(dict.fromkeys(flatten("", scores)), f"{place}.scores")
    for key, score in flatten("", scores).items():
        # A diverged training may well report NaN, infinity or a word; but never these.
        huge = isinstance(score, int) and not isinstance(score, bool) and not _is_number(score)
        _expect(not huge and not isinstance(score, list), f"{place}.{_printable(key)}", "a number", score)
    timed = seconds is None or (_is_number(seconds) and seconds >= 0)
    _expect(timed, f"{place}.seconds", "a number, 0 or more", seconds)
    status = DONE if run.get("status") is None else run["status"]
    error = "" if run.get("error") is None else run["error"]
    _expect(isinstance(status, str), f"{place}.status", "a text", status)
    _expect(isinstance(error, str), f"{place}.error", "a text", error)
    return Run(run["seed"], scores, seconds, status, error)


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


def _shorten(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 16 or " " in text else f"{text[:12]}..."
