"""What a trained network says of pictures, and what it looked at.

    python -m apps.resnet_transfer.predict RUN_FOLDER PICTURE ...

Prints the most probable classes of each picture and writes NAME_prediction.png beside where the
command is run (--to FOLDER: there). The run may have been of any framework.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apps.resnet_transfer.config import Config
from apps.resnet_transfer.shapes import State
from shared.data import pictures
from shared.errors import ConfigError, DataError, SuiteError
from shared.files import write_atomically
from shared.runs.finished import read_config, read_metrics, read_weights

TOP = 5  # classes that are shown
KERAS_NAMES = {
    "kernel": "weight", "bias": "bias", "gamma": "weight", "beta": "bias",
    "moving_mean": "running_mean", "moving_variance": "running_var",
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Predict; return the exit status: 2 for a wrong command, 3 for what cannot be read."""
    parser = argparse.ArgumentParser(
        prog="python -m apps.resnet_transfer.predict", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("run", type=Path, help="the folder of a finished run")
    parser.add_argument("pictures", type=Path, nargs="+", help="files in any format")
    parser.add_argument("--to", type=Path, default=Path(), help="where the pictures are written")
    given = parser.parse_args(arguments)
    status = 0
    try:
        config, classes, state = read_run(given.run)
        torch_predict = importlib.import_module("apps.resnet_transfer.torch_predict")
        network = loaded(torch_predict, config, classes, state, given.run)
        given.to.mkdir(parents=True, exist_ok=True)
    except (SuiteError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return error.status if isinstance(error, SuiteError) else ConfigError.status
    for path in given.pictures:
        try:
            predict(torch_predict, network, config, classes, path, given.to)
        except SuiteError as error:  # the others are still to come
            print(f"error: {error}", file=sys.stderr)
            status = error.status
    return status


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


def predict(
    module: Any, network: Any, config: Config, classes: list[str], path: Path, folder: Path
) -> None:
    """Print the most probable classes of one picture and write what was looked at.

    Raises:
        DataError: it is no picture, or a damaged one.
        ConfigError: the result cannot be written.
    """
    from apps.resnet_transfer.drawing import prediction  # matplotlib takes a second

    picture = pictures.decode(pictures.read(path), str(path), config.data.size)
    probabilities, heat, stage = module.explain(network, picture)
    order = np.argsort(-probabilities)[:TOP]
    names = [classes[number] for number in order]
    shown = ", ".join(f"{name} {probabilities[number]:.1%}"
                      for name, number in zip(names, order, strict=True))  # fmt: skip
    title = f"{path.name}: {config.model.name}, Grad-CAM of {stage}"
    result = folder / f"{path.stem}_prediction.png"
    try:
        write_atomically(result, prediction(picture, names, probabilities[order], heat, title))
    except OSError as error:
        raise ConfigError(f"cannot write {result}: {error.strerror}") from error
    print(f"{path}: {shown}; {result}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
