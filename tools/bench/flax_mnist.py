"""The same CNN as `model=cnn` in flax, as its users write it, which tools/bench/mnist.py runs.

    PYTHON -m tools.bench.flax_mnist FOLDER EPOCHS

PYTHON needs jax, flax and optax and nothing of this suite, FOLDER holds MNIST's decompressed files. The
program follows flax's documentation: an `nnx.Module`, an `nnx.Optimizer` and steps under `nnx.jit`. It
trains on 60,000 images in batches of 128 with Adam, in float32, and scores the 10,000 test images after
each epoch. Prints a line of JSON for each: its seconds with the scoring, and the accuracy.
"""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

BATCH_SIZE, LR = 128, 1e-3
HEADERS = {"images-idx3": 16, "labels-idx1": 8}  # bytes in front of the values


class Cnn(nnx.Module):
    """Convolution, convolution, pooling, dense, dense; images (N, 28, 28, 1) to logits (N, 10)."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.conv1 = nnx.Conv(1, 32, kernel_size=(3, 3), padding="VALID", rngs=rngs)
        self.conv2 = nnx.Conv(32, 64, kernel_size=(3, 3), padding="VALID", rngs=rngs)
        self.dropout1 = nnx.Dropout(0.25, rngs=rngs)
        self.fc1 = nnx.Linear(64 * 12 * 12, 128, rngs=rngs)
        self.dropout2 = nnx.Dropout(0.5, rngs=rngs)
        self.fc2 = nnx.Linear(128, 10, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.relu(self.conv1(x))
        x = nnx.relu(self.conv2(x))
        x = nnx.max_pool(x, window_shape=(2, 2), strides=(2, 2))
        x = self.dropout1(x.reshape(x.shape[0], -1))
        x = self.dropout2(nnx.relu(self.fc1(x)))
        return self.fc2(x)


def mean_loss(model: Cnn, images: jax.Array, labels: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(model(images), labels).mean()


@nnx.jit
def train_step(model: Cnn, optimizer: nnx.Optimizer, images: jax.Array, labels: jax.Array) -> jax.Array:
    """Take one optimizer step; return the loss."""
    loss, gradients = nnx.value_and_grad(mean_loss)(model, images, labels)
    optimizer.update(model, gradients)
    return loss


@nnx.jit
def count_correct(model: Cnn, images: jax.Array, labels: jax.Array) -> jax.Array:
    return (model(images).argmax(axis=1) == labels).sum()


def read(folder: Path, part: str, kind: str) -> np.ndarray:
    """Return the bytes of one of MNIST's files, without its header."""
    return np.fromfile(folder / f"{part}-{kind}-ubyte", np.uint8, offset=HEADERS[kind])


def load(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the standardized images (N, 28, 28, 1) in float32 and the labels (N,) of `train` or `t10k`."""
    images = read(folder, part, "images-idx3").reshape(-1, 28, 28, 1).astype(np.float32) / 255
    return (images - 0.1307) / 0.3081, read(folder, part, "labels-idx1").astype(np.int32)


def batches(size: int, order: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the indices of each batch."""
    yield from np.split(order, range(size, len(order), size))


def main(folder: str, epochs: str) -> None:
    """Train, and score the test images after each epoch."""
    images, labels = load(Path(folder), "train")
    test_images, test_labels = load(Path(folder), "t10k")
    model = Cnn(rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.adam(LR), wrt=nnx.Param)
    random = np.random.default_rng(0)
    for _ in range(int(epochs)):
        start = time.perf_counter()
        model.train()
        for rows in batches(BATCH_SIZE, random.permutation(len(images))):
            loss = train_step(model, optimizer, images[rows], labels[rows])
        model.eval()
        correct = sum(
            int(count_correct(model, test_images[rows], test_labels[rows]))
            for rows in batches(1000, np.arange(len(test_images)))
        )
        assert jnp.isfinite(loss), "the training diverged"
        result = {"seconds": time.perf_counter() - start, "accuracy": correct / len(test_images)}
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")
    main(*sys.argv[1:])
