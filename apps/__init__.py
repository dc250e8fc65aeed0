"""Complete applications: python -m apps.NAME."""

import os
import signal
import sys


def _interrupt(*_: object) -> None:
    os.write(2, b"interrupted\n")
    os._exit(130)


# Until a training begins (shared/cli.py), nothing needs saving, and imports would print a traceback.
if sys.argv[0] == "-m":
    for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        if signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL):  # nohup ignores SIGHUP
            signal.signal(number, _interrupt)
