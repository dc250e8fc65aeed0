"""Transfer learning: load a pretrained backbone, then train in the mode of `config.transfer`."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from apps.resnet_transfer.config import Config, MobileNet, ResNet
from shared.data import pictures
from shared.data.examples import Examples
from shared.data.images import ImageData
from shared.errors import ConfigError, DataError
from shared.runs.folder import RunFolder
from shared.training import frameworks
from shared.training.loop import Augment, Evaluation, Learner, evaluate, fit
from shared.training.schedule import LrScales

T = TypeVar("T")
State = Mapping[str, NDArray[Any]]  # weights by torchvision's names, unless said otherwise

PACKAGE = "apps.resnet_transfer"
HEADS = (ResNet.HEAD, MobileNet.HEAD)
KERAS_NAMES = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


@dataclass(frozen=True)
class InitialWeights:
    """Weights to start from, by torchvision's names; the last layer's are not used."""

    name: str
    state: State
    file: str | None = None  # where ImageNet's were found


RANDOM = InitialWeights("none", {})


def build_learner(config: Config, images: ImageData, initial: InitialWeights = RANDOM) -> Learner:
    """Return the network for the classes of `images`, its backbone with `initial` weights, and its optimizer.

    Raises:
        ConfigError: `config` is that of a comparison.
        DataError: the weights belong to another network.
    """
    refuse_comparison(config)
    learner = frameworks.build_learner(
        PACKAGE, config, lr_scales=lr_scales(config), classes=len(images.classes)
    )
    if initial is not RANDOM:
        load_backbone(learner, initial, config)
    return learner


def refuse_comparison(config: Config) -> None:
    """Raise a ConfigError if the run compares many networks, since it keeps none of them."""
    if config.transfer.mode == "compare":
        raise ConfigError("a run with transfer.mode=compare keeps the weights of no network")


def load_backbone(learner: Learner, initial: InitialWeights, config: Config) -> None:
    """Load all weights except those of the last layer."""
    own = learner.weights()
    check_backbone(initial, {name: value.shape for name, value in torch_weights(own).items()}, config)
    given = backbone(initial.state)
    loaded = {}
    for path, value in own.items():
        if (weight := given.get(torch_name(path))) is not None:
            weight = weight.transpose(2, 3, 1, 0) if path.endswith("/kernel") else weight
            loaded[path] = weight.reshape(value.shape).astype(value.dtype)  # see `torch_weights`
    learner.load_weights(own | loaded)


def check_backbone(initial: InitialWeights, shapes: Mapping[str, tuple[int, ...]], config: Config) -> None:
    """Raise a DataError unless all weights except those of the last layer have these names and shapes."""
    wanted, given = backbone(shapes), backbone(initial.state)
    problems = [f"{name} is missing" for name in wanted if name not in given]
    problems += [f"{name} is unexpected" for name in given if name not in wanted]
    for name, shape in wanted.items():
        if name in given and given[name].shape != shape:
            problems.append(f"{name} has the shape {given[name].shape}, expected {shape}")
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise DataError(
            f"{initial.name}: weights of another network: {problems[0]}{more}\n"
            f"expected the weights of a {config.model.name} with model.width={config.model.width}"
        )


def backbone(state: Mapping[str, T]) -> dict[str, T]:
    """Return the entries of every layer's weights and statistics except the last layer's."""
    return {
        name: value
        for name, value in state.items()
        if not is_head(name) and not name.endswith("num_batches_tracked")
    }


def is_head(name: str) -> bool:
    """Whether this is a weight of the last layer, in any framework."""
    return name.startswith(tuple(f"{head}{separator}" for head in HEADS for separator in "./"))


def torch_weights(weights: State) -> dict[str, NDArray[Any]]:
    """Return a learner's weights by torchvision's names, in torch's layout."""
    result = {}
    for path, value in weights.items():
        if path.endswith("/kernel"):
            if ".conv." in path and value.shape[-1:] == (1,):  # depthwise: (height, width, channels, 1)
                value = value.swapaxes(2, 3)
            value = value.transpose(3, 2, 0, 1) if value.ndim == 4 else value.T
        result[torch_name(path)] = np.ascontiguousarray(value)
    return result


def torch_name(path: str) -> str:
    """Return torchvision's name of a weight; Keras's is `layer1.0.conv1/kernel`, for example."""
    layer, _, kind = path.partition("/")
    return f"{layer}.{KERAS_NAMES[kind]}" if kind else path


def lr_scales(config: Config, epoch: int = 1) -> LrScales:
    """Return the learning rates of the network's parts in this epoch (from 1), as factors of optimizer.lr."""
    transfer, head = config.transfer, config.model.HEAD
    parts = [("",), *config.model.stages]  # "" is the first convolution with its normalization
    layers = [*itertools.chain(*parts), head]
    if transfer.mode == "scratch":
        return dict.fromkeys(layers, transfer.scratch_rate)
    if transfer.mode == "frozen":
        return dict.fromkeys(layers, 0.0) | {head: transfer.frozen_rate}
    every = transfer.unfreeze_every
    count = len(parts) if every is None else (epoch - 1) // every  # parts, counted from the last stage
    trained = itertools.chain(*parts[::-1][:count])
    kept = config.model.normalizations if transfer.normalization == "frozen" else []
    rates = dict.fromkeys(trained, transfer.backbone_rate) | {head: 1.0} | dict.fromkeys(kept, 0.0)
    return dict.fromkeys(layers, 0.0) | rates


def fit_transfer(
    learner: Any,
    train_set: Examples,
    validation_set: Examples | None,
    test_set: Examples,
    config: Config,
    run: RunFolder,
) -> Evaluation:
    """Train `learner` in the mode of `config.transfer`; return its scores on the test set.

    The history goes to `run`.
    """
    if config.transfer.mode == "frozen" and config.transfer.features == "once":
        return fit_head(learner, train_set, validation_set, test_set, config, run)

    def unfreeze(epoch: int) -> None:
        scales = lr_scales(config, epoch)
        if scales != learner.lr_scales:
            learner.set_lr_scales(scales)

    train_set = train_set.take(slice(None))  # scaled once
    fit(learner, train_set, validation_set, config, run, augmentation(config), before_epoch=unfreeze)
    return evaluate(learner, test_set)


def fit_head(
    learner: Learner,
    train_set: Examples,
    validation_set: Examples | None,
    test_set: Examples,
    config: Config,
    run: RunFolder,
) -> Evaluation:
    """Train the last layer on features that the backbone computes once, and put it back into the network."""
    from apps.resnet_transfer.features import feature_extractor

    with_features = feature_extractor(learner, config)
    own = {name: value for name, value in learner.weights().items() if is_head(name)}
    (classes,) = (len(value) for value in own.values() if value.ndim == 1)  # the bias
    train_features = with_features(train_set)
    validation_features = validation_set and with_features(validation_set)
    sizes = {"features": train_features.inputs.shape[1], "classes": classes}
    build = partial(frameworks.network_module(PACKAGE, config).build_head, **sizes)
    scales = {"": config.transfer.frozen_rate}
    head = frameworks.learner_class(config.framework)(build, config, lr_scales=scales)
    head.load_weights(own)
    fit(head, train_features, validation_features, config, run)
    learner.load_weights(learner.weights() | head.weights())
    return evaluate(head, with_features(test_set))


def augmentation(config: Config) -> Augment | None:
    """Return the function that augments the training images of an epoch; none in mode `frozen`."""
    data = config.data
    if config.transfer.mode == "frozen" or not (data.shift or data.mirror):
        return None
    module: Any = frameworks.network_module(PACKAGE, config) if config.framework == "torch" else pictures
    return partial(module.shift_and_mirror, pixels=data.shift or 0, mirror=data.mirror)
