"""One training in any mode: which parts learn how fast, and the network with its loop."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apps.resnet_transfer.config import Config
from apps.resnet_transfer.shapes import HEAD, STAGES, State, is_head
from shared.data.augment import shift_and_mirror
from shared.data.examples import Examples
from shared.errors import DataError
from shared.runs.folder import RunFolder
from shared.training.frameworks import learner_class
from shared.training.loop import EVALUATION_BATCH, Augment, fit, unchanged
from shared.training.lr_scale import ALL, LrScales


@dataclass(frozen=True)
class Start:
    """Weights to start from: by torchvision's names, without the last layer; none where drawn."""

    name: str
    state: State


DRAWN = Start("none", {})


def network(framework: str) -> ModuleType:
    """Return the module of the network in this framework; the others' are not imported."""
    if framework == "keras":
        importlib.import_module("shared.parity")  # which loads the two in the order that works
    learner_class(framework)
    return importlib.import_module(f"apps.resnet_transfer.{framework}_model")


def build_learner(config: Config, classes: int, rates: LrScales = ALL) -> Any:
    """Return the network, with drawn weights, and its loop."""
    build = partial(network(config.framework).build_model, classes=classes)
    return learner_class(config.framework)(build, config, rates=rates)


def started(learner: Any, config: Config, start: Start) -> Any:
    """Return the learner with the weights of `start` in its backbone.

    Raises:
        DataError: they belong to another network.
    """
    module = network(config.framework)
    own = module.state(learner.model)
    if start is not DRAWN:
        module.load_state(learner.model, own | fitting(start, own, config))
    return learner


def fitting(start: Start, own: State, config: Config) -> dict[str, NDArray[Any]]:
    """Return the weights of `start` without the last layer, in the dtypes of `own`.

    Raises:
        DataError: a weight is missing, is too many, or has another shape.
    """

    def backbone(state: State) -> dict[str, NDArray[Any]]:
        return {
            name: value
            for name, value in state.items()
            if not is_head(name) and not name.endswith("num_batches_tracked")
        }

    given, wanted = backbone(start.state), backbone(own)
    problems = [
        *(f"{name} is missing" for name in wanted if name not in given),
        *(f"{name} is too many" for name in given if name not in wanted),
        *(
            f"{name} has the shape {given[name].shape}, expected {wanted[name].shape}"
            for name in wanted
            if name in given and given[name].shape != wanted[name].shape
        ),
    ]
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise DataError(
            f"{start.name}: weights of another network: {problems[0]}{more}\n"
            f"they must be those of a {config.model.name} with model.width={config.model.width}"
        )
    return {name: value.astype(wanted[name].dtype) for name, value in given.items()}


def rates_of(config: Config, epoch: int = 1) -> LrScales:
    """Return how fast each part learns in this epoch, counted from 1, times optimizer.lr."""
    transfer = config.transfer
    parts = ("", *STAGES, HEAD)
    if transfer.mode == "scratch":
        return dict.fromkeys(parts, transfer.scratch_rate)
    if transfer.mode == "frozen":
        return dict.fromkeys(parts, 0.0) | {HEAD: transfer.frozen_rate}
    every = transfer.unfreeze_every
    opened = len(parts) if every is None else (epoch - 1) // every  # parts beside the last layer
    learning = parts[:-1][::-1][:opened]
    return dict.fromkeys(parts, 0.0) | dict.fromkeys(learning, transfer.backbone_rate) | {HEAD: 1.0}


def augmentation(config: Config) -> Augment:
    """Return what changes the training pictures of an epoch; nothing does in mode `frozen`."""
    data = config.data
    if config.transfer.mode == "frozen" or not (data.shift or data.mirror):
        return unchanged
    if config.framework == "torch":
        transforms = importlib.import_module("apps.resnet_transfer.torch_transforms")
        return partial(transforms.shift_and_mirror, pixels=data.shift, mirror=data.mirror)
    return partial(shift_and_mirror, pixels=data.shift, mirror=data.mirror)


def learn(
    config: Config,
    start: Start,
    sets: tuple[Examples, Examples | None],
    classes: int,
    run: RunFolder,
    built: Callable[[Any], None] = lambda learner: None,
) -> Any:
    """Train in the mode of `config.transfer` and return the learner.

    Args:
        config: everything that matters, the seed among it.
        start: weights to start from; a new last layer is drawn.
        sets: examples to train and to validate with.
        classes: how many there are.
        run: where the history goes.
        built: takes the learner before it trains.
    """
    train_set, validation_set = sets
    learner = started(build_learner(config, classes, rates_of(config)), config, start)
    built(learner)
    if config.transfer.mode == "frozen" and config.transfer.features == "once":
        learn_head(config, learner, train_set, validation_set, classes, run)
        return learner

    def unfreeze(epoch: int) -> None:
        rates = rates_of(config, epoch)
        if rates != learner.lr_scales:
            learner.set_lr_scales(rates)

    fit(learner, train_set, validation_set, config, run, augmentation(config), before_epoch=unfreeze)
    return learner


def learn_head(
    config: Config,
    learner: Any,
    train_set: Examples,
    validation_set: Examples | None,
    classes: int,
    run: RunFolder,
) -> None:
    """Train the last layer on features that the backbone gives once, then put it in its place."""
    module = network(config.framework)
    train_features = with_features(learner, train_set, config)
    validated = None if validation_set is None else with_features(learner, validation_set, config)
    count = train_features.inputs.shape[1]
    build = partial(module.build_head, features=count, classes=classes)
    head: Any = learner_class(config.framework)(build, config, rates={"": config.transfer.frozen_rate})
    own = module.state(learner.model)
    module.load_state(head.model, {name: value for name, value in own.items() if is_head(name)})
    fit(head, train_features, validated, config, run)
    module.load_state(learner.model, own | module.state(head.model))


def with_features(learner: Any, examples: Examples, config: Config) -> Examples:
    """Return the examples with what the backbone makes of them, (N, F), in evaluation mode."""
    features = network(config.framework).features
    batches = [
        features(learner, examples.inputs[first : first + EVALUATION_BATCH])
        for first in range(0, len(examples), EVALUATION_BATCH)
    ]
    return Examples(np.concatenate(batches), examples.labels)
