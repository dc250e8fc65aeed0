"""Complete applications: python -m apps.NAME."""

import os
import signal
import sys


def _interrupt(*_: object) -> None:
    os.write(2, b"interrupted\n")
    os._exit(130)


# Until a training begins (shared/cli.py), nothing needs saving, and imports would print a traceback.
if sys.argv[0] == "-m" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _interrupt)
