"""Runs commands, each in a fork of an interpreter that has imported what they all begin with.

    python -m tests.forks    a command a line as JSON, module and arguments; then how it ended

To start Python and Hydra takes most of a second, to fork them a few milliseconds. Each command has
a process of its own as before. No framework is imported before the fork.
"""

import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
TIMEOUT = 120  # seconds; far more than any of the commands needs


class Forks:
    """An interpreter that is ready to run commands, with `environment` added to this one's."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.forks"],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `python -m MODULE ARGUMENTS` and wait for it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps([module, *arguments]), file=self.process.stdin, flush=True)
        ended = json.loads(self.process.stdout.readline())
        return subprocess.CompletedProcess([module, *arguments], **ended)

    def close(self) -> None:
        """Let the interpreter end."""
        self.process.communicate()


def serve() -> None:
    """Fork for each line of the standard input; the fork runs the command and ends with it."""
    from hydra.core.plugins import Plugins

    import shared.cli  # noqa: F401  (Hydra and pydantic; no framework)

    Plugins.instance()  # which Hydra looks for when it is first used
    for line in sys.stdin:
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as error:
            if not (child := os.fork()):
                os.dup2(out.fileno(), 1)
                os.dup2(error.fileno(), 2)
                signal.alarm(TIMEOUT)
                module, *arguments = json.loads(line)
                sys.argv = [module, *arguments]
                runpy.run_module(module, run_name="__main__", alter_sys=True)
                return
            _, status = os.waitpid(child, 0)
            print(json.dumps(ended(status, out, error)), flush=True)


def ended(status: int, out: Any, error: Any) -> dict[str, Any]:
    """Return what `subprocess.CompletedProcess` takes."""
    out.seek(0)
    error.seek(0)
    code = os.waitstatus_to_exitcode(status)
    return {"returncode": code, "stdout": out.read(), "stderr": error.read()}


if __name__ == "__main__":
    serve()
