"""Runs a command once per seed and reads its metrics: from JSON, by regular expression, or the last line."""

import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accuracy_gate.results import InvalidResults, Metric, Run, flatten, load_json

NUMBER = r"[-+]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?(?:nan|inf)(?:inity)?\b"
SCORE = re.compile(rf"({NUMBER})\s*(?:/\s*({NUMBER})|(%))?", re.IGNORECASE)


@dataclass(frozen=True)
class Command:
    """A command template, and where its metrics are."""

    words: Sequence[str]  # {seed} stands for the seed
    json: str | None = None  # a file that the command writes; {seed} stands for the seed
    patterns: Mapping[str, str] = field(default_factory=dict)  # by metric; the last match counts
    timeout: float | None = None  # seconds

    def __post_init__(self) -> None:
        if not any("{seed}" in word for word in self.words):
            raise InvalidResults("the command has no {seed}: every run would be the same")
        for name, pattern in self.patterns.items():
            try:
                groups = re.compile(pattern).groups
            except re.error as error:
                raise InvalidResults(f"{name}: {pattern!r} is not a regular expression: {error}") from error
            if groups != 1:
                raise InvalidResults(f"{name}: {pattern!r} needs one group in parentheses: the score")

    def as_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        given = {"json": self.json, "regex": dict(self.patterns), "timeout": self.timeout}
        return {"command": shlex.join(self.words), **{key: value for key, value in given.items() if value}}

    @classmethod
    def from_json(cls, entry: Any) -> "Command":
        """Return the command of a baseline.

        Raises:
            InvalidResults: there is none.
        """
        valid = isinstance(entry, dict) and isinstance(entry.get("command"), str)
        if not valid or not isinstance(entry.get("regex", {}), dict):
            raise InvalidResults("the baseline has no command: `accuracy-gate record` writes one")
        regex, timeout = entry.get("regex", {}), entry.get("timeout")
        try:
            return cls(shlex.split(entry["command"]), entry.get("json"), regex, timeout and float(timeout))
        except (TypeError, ValueError) as error:
            raise InvalidResults(f"the baseline's command cannot be read: {error}") from error

    def run(self, seed: int, metrics: Mapping[str, Metric]) -> Run:
        """Run once; a run that crashes, hangs or prints no metrics has failed."""
        words = [word.replace("{seed}", str(seed)) for word in self.words]
        file = Path(self.json.replace("{seed}", str(seed))) if self.json else None
        before = _identity(file)
        start = time.perf_counter()
        try:
            output = _output(words, self.timeout)
            if file and _identity(file) == before:
                raise InvalidResults(f"the command did not write {file}")
            scores = self._scores(output, file, metrics)
        except InvalidResults as error:
            return Run(seed, status="failed", error=str(error))
        return Run(seed, scores, round(time.perf_counter() - start, 3))

    def _scores(self, output: str, file: Path | None, metrics: Mapping[str, Metric]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, pattern in self.patterns.items():
            matches = re.findall(pattern, output)
            if not matches:
                raise InvalidResults(f"{name}: the output has no match of {pattern!r}")
            found[name] = read_score(matches[-1])
        if file:
            found |= _read_object(file.read_bytes(), str(file))
        elif not self.patterns:
            lines = output.split("\n")
            last = next((line.strip() for line in reversed(lines) if line.strip()), None)
            if last is None:
                raise InvalidResults("the command printed nothing")
            if last.startswith("{"):
                found = _read_object(last, "the last line")
            elif len(metrics) == 1 and (scores := [match[0] for match in SCORE.finditer(last)]):
                found = {next(iter(metrics)): read_score(scores[-1])}
        chosen = {k: v for k, v in found.items() if any(k == n or k.startswith(f"{n}.") for n in metrics)}
        for name in metrics:
            if not any(key == name or key.startswith(f"{name}.") for key in chosen):
                where = str(file) if file else "the output" if self.patterns else "the last line"
                raise InvalidResults(f"{where} has no {name}")
        return chosen


def read_score(text: str) -> float | str:
    """Return the number in a text such as 0.93, 93.1 %, 9310/10000 or nan; the text if it is none."""
    match = SCORE.fullmatch(text.strip())
    if not match:
        return text
    number, whole, percent = match.groups()
    divisor = float(whole) if whole else 100.0 if percent else 1.0
    return float(number) / divisor if divisor else text


def _read_object(text: str | bytes, origin: str) -> dict[str, Any]:
    content = load_json(text, origin)
    if not isinstance(content, dict):
        raise InvalidResults(f"{origin} is not a JSON object")
    return flatten("", content)


def _identity(file: Path | None) -> tuple[int, int, int] | None:
    """Return what changes when a file is written, or None if there is none."""
    try:
        stat = file.stat() if file else None
    except OSError:
        return None
    return (stat.st_ino, stat.st_mtime_ns, stat.st_size) if stat else None


def _output(words: Sequence[str], timeout: float | None) -> str:
    """Return what a command prints; on a timeout or Ctrl-C, end all processes that it has started."""
    try:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise InvalidResults(f"{words[0]}: {error.strerror}") from error
    try:
        output, errors = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        raise InvalidResults(f"not done after {timeout:g} s") from None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    if process.returncode:
        last = errors.decode(errors="replace").strip().rpartition("\n")[2][:200]
        raise InvalidResults(
            f"the command ended with status {process.returncode}{': ' if last else ''}{last}"
        )
    return output.decode(errors="replace")
