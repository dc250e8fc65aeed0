"""The terminal or pipe that a program writes to, which may close before the program has ended."""

import errno
import io
import signal
import sys
import threading
from typing import Any


class _Output(io.FileIO):
    def write(self, data: Any) -> int:
        """Write, or drop what nobody can read any more, or what no longer fits on the disk."""
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO, errno.ENOSPC):
                raise
            return len(data)


def ignore_closed_output() -> None:
    """Let this program finish silently after `| head`, a closed terminal, or `> log` on a full disk."""
    for name in ("stdout", "stderr"):
        old = getattr(sys, name)
        if old is not None and old is getattr(sys, f"__{name}__"):  # not replaced, as by pytest
            raw = io.BufferedWriter(_Output(old.fileno(), "w", closefd=False))
            line_buffering = old.line_buffering or old.write_through
            setattr(sys, name, io.TextIOWrapper(raw, old.encoding, old.errors, None, line_buffering))


def treat_kills_as_ctrl_c() -> None:
    """Let SIGTERM (a scheduler's kill) and SIGHUP (a closed terminal) end this program as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        return  # a launcher's: only the main thread may
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores SIGHUP
            signal.signal(number, signal.default_int_handler)
