"""The terminal or pipe that a program writes to, which may close before the program has ended."""

import errno
import io
import os
import signal
import sys
from typing import Any


class _Output(io.FileIO):
    """Standard output or error; what nobody can read any more is dropped."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):
                raise
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            return len(data)


def ignore_closed_output() -> None:
    """Let this program finish its work silently after `| head` or when its terminal has closed."""
    for name in ("stdout", "stderr"):
        old = getattr(sys, name)
        if old is not None and old is getattr(sys, f"__{name}__"):  # not replaced, as by pytest
            raw = io.BufferedWriter(_Output(old.fileno(), "w", closefd=False))
            line_buffering = old.line_buffering or old.write_through
            setattr(sys, name, io.TextIOWrapper(raw, old.encoding, old.errors, None, line_buffering))


def catch_kills() -> None:
    """Let SIGTERM, a scheduler's kill, and SIGHUP, a closed terminal, end this program like Ctrl-C."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores SIGHUP
            signal.signal(number, signal.default_int_handler)
