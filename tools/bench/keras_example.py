"""Run keras-team/keras' examples/demo_mnist_convnet.py as it is, on files of MNIST that are here.

    python -m tools.bench.keras_example PROGRAM FOLDER

It asks keras.datasets for the images, which would download them: they come from the folder. A line
is printed when the training begins and another when it ends.
"""

import runpy
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np

from shared.data import mnist
from tools.bench.mnist import BEGUN, ENDED


def images(folder: Path) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Return what keras.datasets.mnist.load_data returns."""
    data = mnist.load(folder, download=False, fallback=None)
    return (
        (data.train_images, data.train_labels.astype(np.uint8)),
        (data.test_images, data.test_labels.astype(np.uint8)),
    )


def main(program: str, folder: str) -> None:
    """Run the program."""
    keras.datasets.mnist.load_data = lambda *given, **named: images(Path(folder))
    fit = keras.Model.fit

    def announced(self: Any, *given: Any, **named: Any) -> Any:
        print(BEGUN, flush=True)
        history = fit(self, *given, **(named | {"verbose": 2}))
        print(ENDED, flush=True)
        return history

    keras.Model.fit = announced
    runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:])
