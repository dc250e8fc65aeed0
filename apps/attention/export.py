"""The network of a finished run as an ONNX file, held against it on the whole test set.

python -m apps.attention.export RUN [--out FILE]
"""

import sys

from apps.attention.config import Config
from apps.attention.evaluate import APPLICATION
from shared.data.recall import RecallData
from tools.evaluate import Finished
from tools.export import Export, main


def meaning(run: Finished[Config]) -> str:
    """Say what the ids stand for."""
    if isinstance(run.data, RecallData):
        keys = len(run.data.vocabulary) - len(run.data.classes) - 1
        return (
            f"ids (batch, length): key, value, ..., key that is asked for; keys are 1 to {keys}, "
            f"values {keys + 1} to {len(run.data.vocabulary) - 1}; 0 is padding"
        )
    return (
        "ids (batch, length): an id is a line of the run's vocabulary.txt, counted from 0, and 0 "
        "is padding, on the right"
    )


EXPORT = Export(APPLICATION, "ids", ("batch", "length"), meaning)

if __name__ == "__main__":
    sys.exit(main(EXPORT, "apps.attention.export"))
