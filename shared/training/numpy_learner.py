"""The training loop in NumPy, on the backward passes of shared/backprop."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import threadpoolctl
from numpy.typing import NDArray

from shared import backprop
from shared.backprop import Array, Module
from shared.config import AppConfig, Optimizer
from shared.data.examples import Examples
from shared.errors import TrainingDiverged
from shared.runs.environment import available_cores
from shared.training.checkpoint import below
from shared.training.loop import Indices
from shared.training.losses import Loss, predicted_classes
from shared.training.lr_scale import ALL, LrScales, factor, part
from shared.training.memory import keep_freed_memory


class NumpyLearner:
    """A network in NumPy with its optimizer.

    Args:
        build: makes the network, with freshly drawn weights, from `config.model`, a dtype, and the
            generator that weights and dropout are drawn from.
        config: seed, threads, precision and optimizer are taken from here.
        loss: what it is trained on.
        rates: how fast its parts learn; a part with the factor 0 stays as it is, the statistics of
            its batch normalization included.
    """

    asynchronous = False  # train yields numbers

    def __init__(
        self,
        build: Callable[[Any, type, np.random.Generator], Module],
        config: AppConfig,
        loss: Loss = "cross_entropy",
        rates: LrScales = ALL,
    ) -> None:
        keep_freed_memory()
        threadpoolctl.threadpool_limits(config.trainer.threads or available_cores(), "blas")
        self.dtype = np.float64 if config.trainer.precision == "float64" else np.float32
        self.random = np.random.default_rng(config.seed)
        self.model = build(config.model, self.dtype, self.random)
        self.loss = loss
        self.clip_norm = config.trainer.clip_norm
        self.criterion = build_loss(loss)
        self.optimizers = {
            key: build_optimizer(weights, config.optimizer)
            for key, weights in parts(self.model.params, rates).items()
        }
        self.set_lr_scales(rates)

    def set_lr_scales(self, rates: LrScales) -> None:
        """Let the network learn at these rates from now on; its parts stay the same."""
        self.lr_scales = rates
        trained = (w.size for name, w in self.model.params.items() if factor(name, rates) > 0)
        self.parameters = sum(trained)

    def placed(self, examples: Examples) -> Examples:
        """Return the examples as they are."""
        return examples

    def train(
        self, examples: Examples, steps: Sequence[tuple[Indices, float]]
    ) -> Iterator[tuple[float, int]]:
        """Take a step for each (batch, learning rate); yield the batch's mean loss and its hits."""
        inputs = examples.inputs
        for name, layer in named_layers(self.model):
            layer.training = factor(name, self.lr_scales) > 0  # statistics of frozen layers stay
        for batch, rate in steps:
            try:
                yield self._step(self._floats(inputs[batch]), examples.labels[batch], rate)
            except backprop.NaNError:  # a layer has met what an earlier step left
                yield math.nan, 0

    def _step(self, inputs: Array, labels: NDArray[np.int64], rate: float) -> tuple[float, int]:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            logits = self.model.forward(inputs)
            loss = self.criterion.forward(logits, labels)
            self.model.backward(self.criterion.backward())
            gradients = {
                name: self.model.grads[name] for name in self.model.params if factor(name, self.lr_scales) > 0
            }
            if self.clip_norm is not None:
                backprop.clip_grad_norm_(gradients, self.clip_norm)
            for key, optimizer in self.optimizers.items():
                if self.lr_scales[key] > 0:
                    # a NumPy float64 would make float64 of all
                    optimizer.lr = float(rate) * self.lr_scales[key]
                    optimizer.step(gradients)
        return float(loss), int((predicted_classes(self.loss, logits) == labels).sum())

    def logits(self, inputs: NDArray[Any]) -> NDArray[np.float64]:
        """Return the logits (N, classes) of one batch, in evaluation mode."""
        self.model.eval()
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                logits = self.model.forward(self._floats(inputs))
        except backprop.NaNError as error:
            raise TrainingDiverged(f"there is NaN in evaluation: {error}") from error
        return logits.astype(np.float64)

    def weights(self) -> dict[str, NDArray[Any]]:
        """Return every weight under torch's name for it."""
        return self.model.state_dict()

    def load_weights(self, weights: Mapping[str, NDArray[Any]]) -> None:
        """Take over what `weights` of such a network has given."""
        self.model.load_state_dict(weights)

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return all that its next step depends on: weights, optimizers, generator of dropout."""
        arrays = {f"weights/{name}": value for name, value in self.weights().items()}
        for optimizer in self.optimizers.values():
            arrays |= slots_of(optimizer)
        steps = {key: optimizer.t for key, optimizer in self.optimizers.items()}
        return arrays, {"steps": steps, "random": self.random.bit_generator.state}

    def load_state(self, arrays: Mapping[str, NDArray[Any]], numbers: Mapping[str, Any]) -> None:
        """Take over what `state` of such a network has returned."""
        self.load_weights(below("weights/", arrays))
        for key, optimizer in self.optimizers.items():
            optimizer.t = numbers["steps"][key]
            load_slots(optimizer, arrays)
        self.random.bit_generator.state = numbers["random"]

    def _floats(self, inputs: NDArray[Any]) -> NDArray[Any]:
        """Return the inputs in the network's dtype; integers (indices of words) stay integers."""
        return inputs.astype(self.dtype) if inputs.dtype.kind == "f" else inputs


def slots_of(optimizer: backprop.Optimizer) -> dict[str, Array]:
    """Return the arrays that an optimizer keeps for each weight, by names for a checkpoint."""
    return {
        f"optimizer/{name}/{slot}": value
        for name, state in optimizer.state.items()
        for slot, value in state.items()
    }


def load_slots(optimizer: backprop.Optimizer, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Take over what `slots_of` such an optimizer has returned.

    Raises:
        ValueError, KeyError: a name is missing, or a shape does not fit.
    """
    for name, state in optimizer.state.items():
        for slot, value in state.items():
            state[slot] = np.array(arrays[f"optimizer/{name}/{slot}"])
            if state[slot].shape != value.shape:
                raise ValueError(f"{name}: expected {slot} {value.shape}")


def named_layers(module: Module, name: str = "") -> Iterator[tuple[str, Module]]:
    """Yield the module and all layers inside with their names; the module itself has none."""
    yield name, module
    for key, child in module.children.items():
        yield from named_layers(child, f"{name}.{key}" if name else key)


def parts(params: dict[str, Array], rates: LrScales) -> dict[str, dict[str, Array]]:
    """Return the parameters of each part that has a learning rate of its own."""
    found: dict[str, dict[str, Array]] = {}
    for name, weight in params.items():
        found.setdefault(part(name, rates), {})[name] = weight
    return found


class BinaryLoss:
    """A loss of logits (N, 1) and labels (N,): the labels become numbers in the logits' shape."""

    def __init__(self, loss: Any, activation: Module | None = None) -> None:
        self.loss, self.activation = loss, activation

    def forward(self, logits: Array, labels: Array) -> Array:
        """Return the loss."""
        outputs = self.activation.forward(logits) if self.activation else logits
        loss: Array = self.loss.forward(outputs, labels[:, None].astype(logits.dtype))
        return loss

    def backward(self) -> Array:
        """Return the gradient of the logits."""
        doutputs: Array = self.loss.backward()
        return self.activation.backward(doutputs) if self.activation else doutputs


def build_loss(loss: Loss) -> Any:
    """Return the loss of that name, with `forward(logits, labels)` and `backward()`."""
    match loss:
        case "cross_entropy":
            return backprop.CrossEntropyLoss()
        case "binary_cross_entropy":
            return BinaryLoss(backprop.BCEWithLogitsLoss())
        case "squared_error":
            return BinaryLoss(backprop.MSELoss(), backprop.Sigmoid())


def build_optimizer(params: dict[str, Array], config: Optimizer) -> backprop.Optimizer:
    """Return the optimizer of that name, in the formula asked for."""
    classes: dict[str, type[backprop.Optimizer]] = {
        "sgd": backprop.SGD,
        "momentum": backprop.SGD,
        "rmsprop": backprop.RMSprop,
        "adagrad": backprop.Adagrad,
        "adam": backprop.Adam,
        "adamw": backprop.AdamW,
    }
    return classes[config.name](params, **config.model_dump(exclude={"name"}))
