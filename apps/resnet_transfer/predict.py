"""What a trained network says of pictures, and what it looked at.

    python -m apps.resnet_transfer.predict RUN PICTURE ...

Prints the most probable classes of each picture and writes NAME_prediction.png into RUN/predictions
(--out FOLDER: there). The run may have been of any framework.
"""

import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apps.resnet_transfer.config import Config
from apps.resnet_transfer.shapes import State
from shared.data import pictures
from shared.errors import ConfigError, DataError
from shared.files import read_file
from shared.runs.reader import read_config, read_metrics, read_weights
from tools import predict
from tools.predict import Answer, Question

TOP = 5  # classes that are shown
KERAS_NAMES = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def main(words: Sequence[str] | None = None) -> int:
    """Predict; return the exit status: 2 for a wrong command, 3 for what cannot be read."""
    return predict.main(QUESTION, words)


def opened(folder: Path) -> Callable[[str], Answer]:
    """Return what answers with the network of the run in `folder`.

    Raises:
        ConfigError: the folder is not one of a finished run of one network of this application.
        DataError: the weights are damaged.
    """
    config, classes, state = read_run(folder)
    torch_predict = importlib.import_module("apps.resnet_transfer.torch_predict")
    network = loaded(torch_predict, config, classes, state, folder)
    return lambda path: answered(torch_predict, network, config, classes, Path(path))


def read_run(folder: Path) -> tuple[Config, list[str], State]:
    """Return the configuration, the classes and the weights, by torchvision's names, of a run.

    Raises:
        ConfigError: the folder is not one of a finished run of one network of this application.
        DataError: the weights are damaged.
    """
    config, metrics = read_config(folder, Config), read_metrics(folder)
    if config.transfer.mode == "compare":
        raise ConfigError(f"{folder} compares many networks and keeps the weights of none")
    return config, list(metrics["classes"]), by_torch_names(read_weights(folder, metrics))


def by_torch_names(state: State) -> State:
    """Return weights by torchvision's names: Keras's are `layer1.0.conv1/kernel`, laid out else."""
    if not any("/" in name for name in state):
        return state
    renamed: dict[str, NDArray[Any]] = {}
    for name, value in state.items():
        layer, _, kind = name.partition("/")
        if kind == "kernel":
            value = value.transpose(3, 2, 0, 1) if value.ndim == 4 else value.T
        renamed[f"{layer}.{KERAS_NAMES[kind]}"] = np.ascontiguousarray(value)
    return renamed


def loaded(module: Any, config: Config, classes: list[str], state: State, run: Path) -> Any:
    """Return the network with the run's weights."""
    try:
        return module.load(config.model, len(classes), state)
    except ValueError as error:
        raise DataError(f"{run}: its weights do not fit its configuration ({error})") from error


def answered(module: Any, network: Any, config: Config, classes: list[str], path: Path) -> Answer:
    """Return the most probable classes of one picture, and a drawing of what was looked at.

    Raises:
        DataError: it is no picture, or a damaged one.
    """
    from apps.resnet_transfer import drawing  # matplotlib takes a second

    picture = pictures.decode(read_file(path), str(path), config.data.size)
    probabilities, heat, stage = module.explain(network, picture)
    order = np.argsort(-probabilities)[:TOP]
    names = [classes[number] for number in order]
    shown = ", ".join(
        f"{name} {probabilities[number]:.1%}" for name, number in zip(names, order, strict=True)
    )
    title = f"{path.name}: {config.model.name}, Grad-CAM of {stage}"
    drawn = drawing.prediction(picture, names, probabilities[order], heat, title)
    return Answer(f"{path}: {shown}", drawn)


QUESTION = Question(
    "apps.resnet_transfer.predict",
    (__doc__ or "").splitlines()[0],
    "PICTURE",
    "a file: PNG, JPEG, TIFF, BMP, GIF or WebP",
    opened,
    files=True,
)

if __name__ == "__main__":
    sys.exit(main())
