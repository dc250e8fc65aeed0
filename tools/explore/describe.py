"""Describe the network of a finished run as JSON: its layers, weights and some examples.

The layers are those of the NumPy network, whose weights have torch's names and layouts in every framework.
"""

import base64
import contextlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.application import FinishedRun
from shared.backprop import Array, Module
from shared.data import digits, mnist, recall
from shared.data.images import ImageData
from shared.errors import ConfigError, DataError
from shared.runs.reader import load_weights, read_weights

SUPPORTED = "xor, mnist_cnn and attention (data=recall)"
PER_CLASS = 3  # test images of each class
LOOK_UPS = 20  # test examples of recall
# The published programs for xor by the names of their experiments: the key of TRAININGS, and a description.
DECKS = {
    "a7": ("A7: no biases, doubled gradient, learning rate 0.1", "deck A: no biases, weights from 0 to 1"),
    "c7": ("C7: normal weights, cross-entropy, learning rate 0.1", "deck C: normal weights, cross-entropy"),
    "d5": ("D5: biases, doubled gradient, learning rate 0.1", "deck D: three inputs, weights from 0 to 1"),
}
# The arguments that a layer of a description is built from, which are attributes of the NumPy layer.
OPTIONS = {
    "AvgPool2d": ("kernel_size", "stride", "padding"),
    "BatchNorm2d": ("num_features", "eps"),
    "Conv2d": ("in_channels", "out_channels", "kernel_size", "stride", "padding"),
    "Dropout": ("p",),
    "Embedding": ("num_embeddings", "embedding_dim"),
    "Linear": ("in_features", "out_features"),
    "MaxPool2d": ("kernel_size", "stride", "padding"),
    "MultiheadAttention": ("embed_dim", "num_heads"),
}


def check_supported(run: FinishedRun[Any]) -> None:
    """Check that the page can show the network of a run.

    Raises:
        ConfigError: it cannot.
    """
    name = run.application.name
    if name not in DESCRIBE:
        raise ConfigError(f"{run.folder} is a run of {name}; the page shows {SUPPORTED}")
    if name == "attention" and run.config.data.name != "recall":
        raise ConfigError(f"{run.folder} is a run on {run.config.data.name}; the page shows {SUPPORTED}")
    if run.config.model.name == "mean_pooling":
        raise ConfigError(f"{run.folder} is a run of mean_pooling, which has no attention to show")


def describe(run: FinishedRun[Any]) -> dict[str, Any]:
    """Return the description of a run, to be written as JSON.

    Raises:
        ConfigError: the page cannot show this network.
        DataError: the run folder is damaged, or lacks what an older version did not write.
    """
    check_supported(run)
    model, weights = numpy_network(run)
    metrics = {key: run.metrics[key] for key in ("test_accuracy", "dataset")}
    return {
        "app": run.application.name,
        "framework": run.config.framework,
        "model": run.config.model.name,
        "name": run.folder.name,
        "classes": list(run.preprocessing.classes),
        "metrics": metrics,
        **DESCRIBE[run.application.name](run),
        **describe_network(model, weights),
    }


def numpy_network(run: FinishedRun[Any]) -> tuple[Module, dict[str, Array]]:
    """Return the network of a run in NumPy, float64, and the run's weights under its names.

    Only a run of Keras imports its framework: torch and NumPy have the same names and layouts.

    Raises:
        DataError: the weights are damaged, or do not fit the configuration.
    """
    trainer = run.config.trainer.model_copy(update={"precision": "float64"})
    config = run.config.model_copy(update={"framework": "numpy", "trainer": trainer})
    learner: Any = run.application.build_learner(config, run.preprocessing)
    if run.config.framework == "keras":
        keras_model = run.learner.model
        from shared.training.keras_weights import keras_state

        learner.load_weights(weights := keras_state(keras_model, learner.weights()))
    else:
        load_weights(learner, run.folder, run.metrics)
        weights = read_weights(run.folder, run.metrics)
    return learner.model, weights


def describe_network(model: Module, weights: dict[str, Array]) -> dict[str, Any]:
    """Return the layers of a network and its weights, without the numbers of batches that it has seen."""
    return {
        "layers": [describe_layer(name, layer) for name, layer in model.children.items()],
        "weights": {name: encode(weights[name]) for name in weights if weights[name].dtype.kind == "f"},
    }


def describe_layer(name: str, layer: Module) -> dict[str, Any]:
    """Return the type, the name and the arguments of a layer."""
    kind = type(layer).__name__
    options = {option: getattr(layer, option) for option in OPTIONS.get(kind, ())}
    if kind in ("Conv2d", "Linear"):
        options["bias"] = "bias" in layer.params
    return {"type": kind, "name": name, "options": options}


def encode(array: NDArray[Any]) -> dict[str, Any]:
    """Return an array as JSON: its shape, its dtype and its bytes, little-endian."""
    content = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
    return {"shape": array.shape, "dtype": array.dtype.name, "base64": base64.b64encode(content).decode()}


def describe_xor(run: FinishedRun[Any]) -> dict[str, Any]:
    """Return input, loss and examples of a run of xor, and the networks that the decks begin with."""
    from apps.xor.corrections import TRAININGS, initial_network

    starts = []
    for name, (label, text) in DECKS.items():
        config, model = initial_network(TRAININGS[label])
        start = {"name": name, "text": text, "lr": TRAININGS[label].lr}
        starts.append(start | describe_rows(config) | describe_network(model, model.state_dict()))
    return describe_rows(run.config.model) | {"starts": starts}


def describe_rows(config: Any) -> dict[str, Any]:
    """Return input, loss and examples of a network for xor: the four rows."""
    from apps.xor.data import examples

    rows = examples(config.inputs)
    return {
        "input": {"shape": [config.inputs], "mean": 0.0, "std": 1.0},
        "loss": config.loss,
        "examples": [
            {"input": row.tolist(), "label": int(label)}
            for row, label in zip(rows.inputs, rows.labels, strict=True)
        ],
    }


def describe_mnist(run: FinishedRun[Any]) -> dict[str, Any]:
    """Return input, loss and examples of a run of mnist_cnn: the first test images of each class.

    If the data set is not at hand, the images are embedded digits; nothing is downloaded.
    """
    mean, std = run.preprocessing.mean_and_std
    data = load_test_images(run)
    images, labels = data.test_images, data.test_labels
    rows = [row for label in range(len(data.classes)) for row in np.flatnonzero(labels == label)[:PER_CLASS]]
    convolutional = run.config.model.name != "mlp"
    return {
        "input": {"shape": [1, 28, 28] if convolutional else [28, 28], "mean": mean, "std": std},
        "loss": "cross_entropy",
        "examples_from": data.name,
        "examples": [
            {"input": base64.b64encode(images[row].tobytes()).decode(), "label": int(labels[row])}
            for row in rows
        ],
    }


def load_test_images(run: FinishedRun[Any]) -> ImageData:
    """Return MNIST if the run was trained on it and it is at hand, else the embedded digits."""
    if run.metrics["dataset"] == "mnist":
        with contextlib.suppress(DataError):
            return mnist.load(Path(run.config.data.root), download=False, fallback=None)
    return digits.load()


def describe_recall(run: FinishedRun[Any]) -> dict[str, Any]:
    """Return input, loss and examples of a run of attention: the first test examples, as ids."""
    data = run.config.data
    tests = recall.load(data.keys, data.values, data.pairs, []).test
    return {
        "input": {"shape": [2 * data.pairs + 1], "mean": 0.0, "std": 1.0},
        "vocabulary": list(run.preprocessing.vocabulary),
        "loss": "cross_entropy",
        "examples": [
            {"input": ids.tolist(), "label": int(label)}
            for ids, label in zip(tests.inputs[:LOOK_UPS], tests.labels, strict=False)
        ],
    }


DESCRIBE = {"xor": describe_xor, "mnist_cnn": describe_mnist, "attention": describe_recall}
