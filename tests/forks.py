"""Runs commands quickly, each in a fork of an interpreter that has already imported what they share.

    python -m tests.forks    reads commands as JSON (module and arguments), one a line; prints the results

Starting Python and Hydra takes most of a second, forking them a few milliseconds. No framework is
imported before the fork.
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
    """An interpreter that is ready to run commands; `environment` is added to this process's."""

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
        result = json.loads(self.process.stdout.readline())
        return subprocess.CompletedProcess([module, *arguments], **result)

    def close(self) -> None:
        """End the interpreter."""
        self.process.communicate()


def serve() -> None:
    """Fork for each line of standard input; the fork runs the command."""
    from hydra.core.plugins import Plugins

    import shared.cli  # noqa: F401  (Hydra and pydantic; no framework)

    Plugins.instance()  # Hydra discovers its plugins on first use
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
            print(json.dumps(result_of(status, out, error)), flush=True)


def result_of(status: int, out: Any, error: Any) -> dict[str, Any]:
    """Return the arguments of `subprocess.CompletedProcess`."""
    out.seek(0)
    error.seek(0)
    code = os.waitstatus_to_exitcode(status)
    return {"returncode": code, "stdout": out.read(), "stderr": error.read()}


if __name__ == "__main__":
    serve()
