"""The network of a finished run as an ONNX file, held against it on the whole test set.

python -m apps.imdb_rnn.export RUN [--out FILE]
"""

import importlib
import sys
from typing import Any

from apps.imdb_rnn.evaluate import APPLICATION
from tools.export import Export, main


def written(network: Any) -> Any:
    """Return the network in a form that torch can write for texts of any length."""
    return importlib.import_module("apps.imdb_rnn.torch_export").written(network)


EXPORT = Export(
    APPLICATION,
    "ids",
    ("batch", "length"),
    lambda run: (
        "ids (batch, length): an id is a line of the run's vocabulary.txt, counted from "
        "0, and 0 is padding, on the right"
    ),
    written,
)

if __name__ == "__main__":
    sys.exit(main(EXPORT, "apps.imdb_rnn.export"))
