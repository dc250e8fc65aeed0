"""Print errors once that several processes, which train together, may have at the same time."""

import sys
import time

from shared import distributed
from shared.errors import LostProcess, SuiteError

SAME_ERROR = 5.0  # seconds within which local rank 0 reaches an error that all processes have


def report(error: SuiteError) -> None:
    """Print an error once, although several processes may have it.

    Local rank 0 prints at once, and torchrun then ends the others. One that is still there after
    `SAME_ERROR` has an error of its own. A process that lost another gives it the time to say why.
    """
    first, lost = distributed.local_rank() == 0, isinstance(error, LostProcess)
    ended = isinstance(error, LostProcess) and error.noticed
    if (lost or not first) and not ended:
        try:
            time.sleep(2 * SAME_ERROR if lost else SAME_ERROR)
        except KeyboardInterrupt:
            ended = True
    if first or not ended:
        speaker = "" if first else f"process {distributed.rank()}: "
        print(f"{speaker}error: {error}", file=sys.stderr, flush=True)
