"""Results of one case by seed, read from JSON and checked.

    {"case": "my_model", "dataset": "flowers", "dataset_sha256": "...", "embedded": false,
     "test_examples": 5000, "config": {"lr": 0.1}, "seeds": [0, 1, 2],
     "runs": [{"seed": 0, "test_accuracy": 0.912, "test_loss": 0.31, "train_seconds": 12.5}, ...]}

Only `runs`, with `seed`, `test_accuracy` and `test_loss` in each, must be there. What else one of
two records has, the other must have too, with the same value: results on other data or with another
configuration are not held against each other. `seeds` says which seeds were asked for: one that has
no run counts as failed. A file holds one record or `{"cases": [record, ...]}`.
"""

import json
import math
import reprlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from accuracy_gate.strict import check_writable, expect, is_number, is_whole, load, named
from shared.errors import ConfigError
from shared.nested import flat

SAME = ("dataset", "dataset_sha256", "embedded", "test_examples")
DONE = "done"


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        seed: what its random numbers came from.
        accuracy: share of the test examples that it got right; None where there is none.
        loss: mean loss over the test examples; None where there is none.
        seconds: how long it trained, None where nobody measured.
        status: `done`, or in a word how it ended instead.
        error: what was said when it did not end well.
    """

    seed: int
    accuracy: Any = None
    loss: Any = None
    seconds: float | None = None
    status: str = DONE
    error: str = ""

    @property
    def fault(self) -> str | None:
        """Why this run cannot pass, whatever the others did; None where nothing is wrong."""
        if self.status != DONE:
            return f"seed {self.seed}: {self.status}{': ' if self.error else ''}{self.error}"
        for name, value in (("accuracy", self.accuracy), ("loss", self.loss)):
            if isinstance(value, bool) or not isinstance(value, int | float):
                return f"seed {self.seed}: {name} is {reprlib.repr(value)}, which is no number"
            if not math.isfinite(value):
                return f"seed {self.seed}: {name} is {value}"
        if not 0 <= self.accuracy <= 1:
            return f"seed {self.seed}: an accuracy of {self.accuracy:g} is impossible"
        if self.loss < 0 or not is_number(self.loss):
            return f"seed {self.seed}: a loss of {self.loss:g} is impossible"
        return None

    def as_json(self) -> dict[str, Any]:
        """Return what `parse_records` reads; NaN and infinity as words, which JSON has not."""
        values = {
            "seed": self.seed,
            "test_accuracy": _in_json(self.accuracy),
            "test_loss": _in_json(self.loss),
            "train_seconds": self.seconds,
        }
        if self.status != DONE:
            values |= {"status": self.status, "error": self.error}
        return values


@dataclass(frozen=True)
class Record:
    """The runs of one case, and what they depend on.

    Attributes:
        case: its name.
        runs: one a seed.
        facts: dataset, dataset_sha256, embedded, test_examples and config, as far as they are
            known.
        notes: everything else that the file says (versions, hardware, commit, date).
    """

    case: str
    runs: tuple[Run, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def test_examples(self) -> int | None:
        """How many examples each run was tested with, None where the file does not say."""
        return self.facts.get("test_examples")

    def as_json(self) -> dict[str, Any]:
        """Return what `parse_records` reads."""
        runs = [run.as_json() for run in self.runs]
        return {"case": self.case, **self.facts, **self.notes, "runs": runs}

    def check_baseline(self, at_least: int, origin: str = "") -> None:
        """Refuse what nothing may be held against.

        Args:
            at_least: how many seeds it must have.
            origin: the name of its file, for the messages.

        Raises:
            ConfigError: too few seeds, or a run with a fault.
        """
        place = f"{origin}: {self.case}" if origin else self.case
        if len(self.runs) < at_least:
            raise ConfigError(f"{place}: the baseline has {len(self.runs)} seeds, {at_least} are needed")
        for fault in filter(None, (run.fault for run in self.runs)):
            raise ConfigError(f"{place}: the baseline is damaged: {fault}")


def parse_records(text: str | bytes, origin: str) -> list[Record]:
    """Return the records in a JSON text.

    Args:
        text: the content of a file.
        origin: its name, for the messages.

    Raises:
        ConfigError: it is no such file, a value is not what its key says, a run has no seed, or
            two have the same. A score that is no number is none of these: its run has failed.
    """
    content = load(text, origin)
    entries = content.get("cases", [content]) if isinstance(content, dict) else content
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f"{origin} holds no cases")
    records = [_record(entry, origin) for entry in entries]
    for name, count in Counter(record.case for record in records).items():
        if count > 1:
            raise ConfigError(f"{origin} holds the case {name} {count} times")
    return records


def differences(baseline: Record, new: Record) -> Iterator[str]:
    """Say in what two records differ so that they must not be held against each other."""
    for key in SAME:
        if baseline.facts.get(key) != new.facts.get(key):
            yield f"{key}: {_shown(baseline.facts.get(key))} -> {_shown(new.facts.get(key))}"
    old, now = (flat({"config": record.facts.get("config")}) for record in (baseline, new))
    for key in sorted(old.keys() | now.keys()):
        if key not in old or key not in now or old[key] != now[key]:
            before, after = (_shown(values[key]) if key in values else "absent" for values in (old, now))
            yield f"{key}: {before} -> {after}"


def _record(entry: Any, origin: str) -> Record:
    """Return one record of a file."""
    if not isinstance(entry, dict) or not isinstance(entry.get("runs"), list):
        raise ConfigError(f'{origin}: a case is {{"case": NAME, "runs": [...]}}')
    case = entry.get("case", "results")
    readable = isinstance(case, str) and case.strip() != "" and case.isprintable()
    expect(readable, f"{origin}: case", "a name", case)
    place = f"{origin}: {case}"
    runs = [_run(run, f"{place}: runs[{number}]") for number, run in enumerate(entry["runs"])]
    seeds = _seeds(entry, place)
    for seed, count in [*Counter(run.seed for run in runs).items(), *Counter(seeds).items()]:
        if count > 1:
            raise ConfigError(f"{place}: seed {seed} is there {count} times")
    known = {run.seed for run in runs}
    runs += [Run(seed, status="failed", error="no result") for seed in seeds if seed not in known]
    if not runs:
        raise ConfigError(f"{place} has no runs")
    others = {key: value for key, value in entry.items() if key not in ("case", "runs", "seeds")}
    for key, value in others.items():
        check_writable(value, f"{place}: {named(key)}")
    size = others.get("test_examples")
    counted = size is None or (is_whole(size) and size > 0)
    expect(counted, f"{place}: test_examples", "a whole number, 1 or more", size)
    facts = {key: others[key] for key in (*SAME, "config") if key in others}
    notes = {key: value for key, value in others.items() if key not in facts}
    return Record(case, tuple(runs), facts, notes)


def _seeds(entry: Mapping[str, Any], place: str) -> list[int]:
    """Return which seeds were asked for; none where the file does not say."""
    seeds = [] if entry.get("seeds") is None else entry["seeds"]
    right = isinstance(seeds, list) and all(is_whole(seed) for seed in seeds)
    expect(right, f"{place}: seeds", "a list of whole numbers", seeds)
    return list(seeds)


def _run(run: Any, place: str) -> Run:
    seed: Any = run.get("seed") if isinstance(run, dict) else None
    if not is_whole(seed):
        raise ConfigError(f"{place}: a run has no seed: {reprlib.repr(run)}")
    for key in ("test_accuracy", "test_loss"):
        score = run.get(key)
        # NaN, infinity and words are what a training may come to; these are not.
        huge = isinstance(score, int) and not isinstance(score, bool) and not is_number(score)
        expect(not huge and not isinstance(score, dict | list), f"{place}.{key}", "a number", score)
    seconds = run.get("train_seconds")
    timed = seconds is None or (is_number(seconds) and seconds >= 0)
    expect(timed, f"{place}.train_seconds", "a number, 0 or more", seconds)
    words: dict[str, Any] = {}
    for key, usual in (("status", DONE), ("error", "")):
        words[key] = usual if run.get(key) is None else run[key]
        expect(isinstance(words[key], str), f"{place}.{key}", "a text", words[key])
    return Run(seed, run.get("test_accuracy"), run.get("test_loss"), seconds, **words)


def _in_json(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 16 or " " in text else f"{text[:12]}..."
