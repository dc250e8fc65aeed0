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
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

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
                return f"seed {self.seed}: {name} is {value!r}, which is no number"
            if not math.isfinite(value):
                return f"seed {self.seed}: {name} is {value}"
        if not 0 <= self.accuracy <= 1:
            return f"seed {self.seed}: an accuracy of {self.accuracy:g} is impossible"
        if self.loss < 0:
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

    def check_baseline(self, at_least: int) -> None:
        """Refuse what nothing may be held against.

        Raises:
            ConfigError: too few seeds, or a run with a fault.
        """
        if len(self.runs) < at_least:
            raise ConfigError(
                f"{self.case}: the baseline has {len(self.runs)} seeds, {at_least} are needed"
            )
        for fault in filter(None, (run.fault for run in self.runs)):
            raise ConfigError(f"{self.case}: the baseline is damaged: {fault}")


def parse_records(text: str | bytes, origin: str) -> list[Record]:
    """Return the records in a JSON text.

    Args:
        text: the content of a file.
        origin: its name, for the messages.

    Raises:
        ConfigError: it is no such file, a run has no seed, or two have the same.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{origin} is not JSON: {error}") from error
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
            before, after = (
                _shown(values[key]) if key in values else "absent" for values in (old, now)
            )
            yield f"{key}: {before} -> {after}"


def _record(entry: Any, origin: str) -> Record:
    """Return one record of a file."""
    if not isinstance(entry, dict) or not isinstance(entry.get("runs"), list):
        raise ConfigError(f'{origin}: a case is {{"case": NAME, "runs": [...]}}')
    case = str(entry.get("case", "results"))
    runs = [_run(run, f"{origin}: {case}") for run in entry["runs"]]
    known = {run.seed for run in runs}
    for seed, count in Counter(run.seed for run in runs).items():
        if count > 1:
            raise ConfigError(f"{origin}: {case}: seed {seed} is there {count} times")
    for seed in entry.get("seeds", []):
        if seed not in known:
            runs.append(Run(seed, status="failed", error="no result"))
    if not runs:
        raise ConfigError(f"{origin}: {case} has no runs")
    known_keys = {"case", "runs", "seeds"}
    facts = {key: entry[key] for key in (*SAME, "config") if key in entry}
    notes = {key: value for key, value in entry.items() if key not in known_keys | facts.keys()}
    return Record(case, tuple(runs), facts, notes)


def _run(run: Any, origin: str) -> Run:
    seed = run.get("seed") if isinstance(run, dict) else None
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise ConfigError(f"{origin}: a run has no seed: {str(run)[:80]}")
    return Run(
        seed,
        run.get("test_accuracy"),
        run.get("test_loss"),
        run.get("train_seconds"),
        str(run.get("status", DONE)),
        str(run.get("error", "")),
    )


def _in_json(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 16 or " " in text else f"{text[:12]}..."
