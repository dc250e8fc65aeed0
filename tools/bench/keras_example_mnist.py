"""Run keras-team/keras' examples/demo_mnist_convnet.py unchanged, on local files of MNIST.

    python -m tools.bench.keras_example_mnist PROGRAM FOLDER

Its call of keras.datasets, which would download the images, reads them from FOLDER instead. A line
is printed when the training begins and when it ends.
"""

import runpy
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np

from shared.data import mnist
from tools.bench.mnist import BEGIN, END


def load_data(folder: Path) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Return what keras.datasets.mnist.load_data returns."""
    data = mnist.load(folder, download=False, fallback=None)
    return (
        (data.train_images, data.train_labels.astype(np.uint8)),
        (data.test_images, data.test_labels.astype(np.uint8)),
    )


def main(program: str, folder: str) -> None:
    """Run the program."""
    keras.datasets.mnist.load_data = lambda *args, **kwargs: load_data(Path(folder))
    fit = keras.Model.fit

    def announcing_fit(self: Any, *args: Any, **kwargs: Any) -> Any:
        print(BEGIN, flush=True)
        history = fit(self, *args, **(kwargs | {"verbose": 2}))
        print(END, flush=True)
        return history

    keras.Model.fit = announcing_fit
    runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:])
