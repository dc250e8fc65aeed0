"""Write a Keras network as a .keras file that loads without this repository."""

import io
import json
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from shared.errors import ConfigError

NOTES = "notes.json"  # in the archive that a .keras file is


def keras_bytes(model: keras.Model, notes: Mapping[str, str]) -> bytes:
    """Return a network as a .keras file, in which Keras's own layers replace those of this repository.

    Raises:
        ConfigError: a layer has no such replacement.
    """
    copies = {}

    def keras_layer(layer: keras.Layer) -> keras.Layer:
        if not hasattr(layer, "keras_layer"):
            return layer
        copies[layer] = layer.keras_layer()
        return copies[layer]

    network = keras.models.clone_model(model, clone_function=keras_layer)
    for layer, copy in copies.items():
        copy.set_weights(layer.get_weights())
    own = {type(layer) for layer in network.layers if not type(layer).__module__.startswith("keras.")}
    if own:
        raise ConfigError(
            f"{', '.join(sorted(kind.__name__ for kind in own))}: a .keras file with layers that Keras lacks "
            "loads only with their code; give them a method keras_layer, as shared/training/keras_dropout.py"
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "network.keras")
        network.save(path)
        content = io.BytesIO(path.read_bytes())
    with zipfile.ZipFile(content, "a") as archive:
        archive.writestr(NOTES, json.dumps(notes, indent=2))
    return content.getvalue()


def load_logits(content: bytes) -> Callable[[NDArray[Any]], NDArray[np.float64]]:
    """Return the function in the content of a .keras file: a batch, (N, ...), to logits."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "network.keras")
        path.write_bytes(content)
        network = keras.saving.load_model(path)

    def logits(batch: NDArray[Any]) -> NDArray[np.float64]:
        return np.asarray(network(batch.astype(network.input.dtype), training=False), np.float64)

    return logits
