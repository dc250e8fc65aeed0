"""The network of a finished run as an ONNX file, held against it on the whole test set.

python -m apps.mnist_cnn.export RUN [--out FILE]
"""

import sys

from apps.mnist_cnn.config import Config
from apps.mnist_cnn.evaluate import APPLICATION
from apps.mnist_cnn.predict import gray_values
from tools.evaluate import Finished
from tools.export import Export, main


def meaning(run: Finished[Config]) -> str:
    """Say what the network is given for a pixel."""
    black, white = gray_values(run.data, run.config)[[0, 255]].tolist()
    return (
        "images (batch, 28, 28), a digit light on dark in MNIST's form; a pixel of 0 to 255 is "
        f"{black!r} + pixel * {(white - black) / 255!r}"
    )


EXPORT = Export(APPLICATION, "images", ("batch",), meaning)

if __name__ == "__main__":
    sys.exit(main(EXPORT, "apps.mnist_cnn.export"))
