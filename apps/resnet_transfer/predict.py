"""The most probable classes of pictures, and what the network looked at.

    python -m tools.predict RUN PICTURE ...

Prints the most probable classes of each picture and writes NAME_prediction.png into RUN/predictions
(--out FOLDER: there). The run may have been of any framework.
"""

import importlib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from apps.resnet_transfer.config import Config
from apps.resnet_transfer.data import load_data, split
from apps.resnet_transfer.transfer import State, build_learner, torch_weights
from shared.application import Application, Export, FinishedRun, Prediction
from shared.data import pictures
from shared.data.images import ImageData
from shared.errors import ConfigError, DataError
from shared.files import read_file
from shared.runs.reader import read_config, read_metrics, read_weights

TOP = 5  # number of classes shown


@cache
def opened(folder: Path) -> Callable[[str], Prediction]:
    """Return what answers with the network of the run in `folder`.

    Raises:
        ConfigError: the folder is not one of a finished run of one network of this application.
        DataError: the weights are damaged.
    """
    config, classes, state = read_run(folder)
    torch_model = importlib.import_module("apps.resnet_transfer.torch_model")
    try:
        network = torch_model.load_network(config.model, state, len(classes))
    except ValueError as error:
        raise DataError(f"{folder}: its weights do not fit its configuration ({error})") from error
    return lambda path: answered(torch_model, network, config, classes, Path(path))


def read_run(folder: Path) -> tuple[Config, list[str], State]:
    """Return the configuration, the classes and the weights, by torchvision's names, of a run.

    Raises:
        ConfigError: the folder is not one of a finished run of one network of this application.
        DataError: the weights are damaged.
    """
    config, metrics = read_config(folder, Config), read_metrics(folder)
    if config.transfer.mode == "compare":
        raise ConfigError(f"{folder} compares many networks and keeps the weights of none")
    return config, list(metrics["classes"]), torch_weights(read_weights(folder, metrics))


def answered(module: Any, network: Any, config: Config, classes: list[str], path: Path) -> Prediction:
    """Return the most probable classes of one picture, and a drawing of what was looked at.

    Raises:
        DataError: it is no picture, or a damaged one.
    """
    image = pictures.decode(read_file(path), str(path), config.data.size)
    probabilities, heat, stage = module.explain(network, image)
    order = np.argsort(-probabilities)[:TOP]
    names = [classes[label] for label in order]
    best = ", ".join(f"{name} {p:.1%}" for name, p in zip(names, probabilities[order], strict=True))
    title = f"{path.name}: {config.model.name}, Grad-CAM of {stage}"
    chart = prediction_chart(image, names, probabilities[order], heat, title)
    return Prediction(f"{path}: {best}", chart, f"{path.stem}_prediction")


def prediction_chart(
    image: NDArray[np.uint8],
    classes: Sequence[str],
    probabilities: NDArray[np.float64],
    heat: NDArray[np.float64],
    title: str,
) -> bytes:
    """Return a PNG of an image, its class probabilities, and the Grad-CAM map of the first class.

    Args:
        image: uint8 (size, size, 3), as the network sees it.
        classes: names of the classes to show, the most probable first.
        probabilities: theirs, (len(classes),).
        heat: the Grad-CAM map of the first class, (h, w), from 0 to 1.
        title: the file and the source of the map.
    """
    from shared import charts  # matplotlib is slow to import

    chart = charts.figure(title, (14, 5))
    left, middle, right = chart.subplots(1, 3, width_ratios=[1, 1.1, 1.15])
    charts.show_image(left, image, "image")
    charts.class_bars(middle, classes, probabilities)
    charts.show_image(right, image.mean(axis=2), f"evidence for {classes[0]}")
    height, width = image.shape[:2]
    enlarged = Image.fromarray(heat.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    overlay = right.imshow(np.asarray(enlarged), cmap="inferno", alpha=0.6, vmin=0, vmax=1)
    bar = chart.colorbar(overlay, ax=right, shrink=0.8, ticks=[0, 1])
    bar.ax.set_yticklabels(["none", "most"])
    return charts.png(chart)


def learner(config: Config, own: ImageData) -> Any:
    """Return the network and its loop.

    Raises:
        ConfigError: the run compares many networks and keeps none.
    """
    if config.transfer.mode == "compare":
        raise ConfigError("transfer.mode=compare keeps the weights of no network")
    return build_learner(config, own)


def describe_input(run: FinishedRun[Config]) -> str:
    """Return what the exported network takes."""
    size = run.config.data.size
    return f"pictures (batch, {size}, {size}, 3), uint8: red, green and blue, 0 to 255"


APPLICATION = Application(
    "resnet_transfer",
    Config,
    load_data,
    learner,
    lambda own, other, config: split(other, config)[2],
    lambda run, file: opened(run.folder)(file),
    input_help="a picture: a PNG, JPEG, TIFF, BMP, GIF or WebP file",
    export=Export("pictures", describe=describe_input),
)
