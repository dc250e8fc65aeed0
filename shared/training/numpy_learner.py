"""Training in NumPy, with the hand-written backward passes of shared/backprop."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import threadpoolctl
from numpy.typing import NDArray

from shared import backprop
from shared.backprop import Array, Module
from shared.config import AppConfig, Optimizer
from shared.data.examples import Examples
from shared.distributed import available_cores
from shared.errors import TrainingDiverged
from shared.training.losses import Loss, predicted_classes
from shared.training.schedule import ALL, Indices, LrScales, lr_scale, parameter_group


class NumpyLearner:
    """A network in NumPy with its optimizer.

    `build_model` returns the network for `config.model`, a dtype, and the generator from which initial
    weights and dropout masks are drawn. A factor 0 in `lr_scales` freezes a parameter group, including
    the statistics of its batch normalization. The other arguments are those of TorchLearner.
    """

    asynchronous = False

    def __init__(
        self,
        build_model: Callable[[Any, type, np.random.Generator], Module],
        config: AppConfig,
        loss: Loss = "cross_entropy",
        lr_scales: LrScales = ALL,
    ) -> None:
        threadpoolctl.threadpool_limits(config.trainer.threads or available_cores(), "blas")
        self.dtype = np.float64 if config.trainer.precision == "float64" else np.float32
        self.random = np.random.default_rng(config.seed)
        self.model = build_model(config.model, self.dtype, self.random)
        self.loss = loss
        self.clip_norm = config.trainer.clip_norm
        self.criterion = build_loss(loss)
        groups: dict[str, dict[str, Array]] = {}
        for name, weight in self.model.params.items():
            groups.setdefault(parameter_group(name, lr_scales), {})[name] = weight
        self.optimizers = {
            group: build_optimizer(params, config.optimizer) for group, params in groups.items()
        }
        self.set_lr_scales(lr_scales)

    def step(self, examples: Examples, batch: Indices, lr: float) -> tuple[float, int]:
        """Take one optimizer step; return the batch's mean loss and number of correct predictions."""
        inputs, labels = self.to_dtype(examples.inputs[batch]), examples.labels[batch]
        try:
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                logits = self.model.forward(inputs)
                loss = self.criterion.forward(logits, labels)
                self.model.backward(self.criterion.backward())
                gradients = self.gradients()
                for group, optimizer in self.optimizers.items():
                    if self.lr_scales[group] > 0:
                        optimizer.lr = float(lr) * self.lr_scales[group]  # np.float64 would widen float32
                        optimizer.step(gradients)
        except backprop.NaNError:  # an earlier step left NaN in the weights
            return math.nan, 0
        return float(loss), int((predicted_classes(self.loss, logits) == labels).sum())

    def gradients(self) -> dict[str, Array]:
        """Return the gradients of all weights that are not frozen, clipped if configured."""
        gradients = {
            name: self.model.grads[name] for name in self.model.params if lr_scale(name, self.lr_scales) > 0
        }
        if self.clip_norm is not None:
            backprop.clip_grad_norm_(gradients, self.clip_norm)
        return gradients

    def to_device(self, examples: Examples) -> Examples:
        """Return the examples unchanged."""
        return examples

    def start_epoch(self, batches: Sequence[Indices]) -> Sequence[Indices]:
        """Switch to training mode, except for frozen layers; return the batches unchanged."""
        for name, layer in self.model.named_modules():
            layer.training = lr_scale(name, self.lr_scales) > 0
        return batches

    def set_lr_scales(self, lr_scales: LrScales) -> None:
        """Use these factors from now on; the parameter groups stay the same."""
        self.lr_scales = lr_scales
        trained = (w.size for name, w in self.model.params.items() if lr_scale(name, lr_scales) > 0)
        self.parameters = sum(trained)

    def logits(self, inputs: NDArray[Any]) -> NDArray[np.float64]:
        """Return the logits (N, classes) of one batch, in evaluation mode."""
        self.model.eval()
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                logits = self.model.forward(self.to_dtype(inputs))
        except backprop.NaNError as error:
            raise TrainingDiverged(f"NaN in evaluation: {error}") from error
        return logits.astype(np.float64)

    def weights(self) -> dict[str, NDArray[Any]]:
        """Return every weight by torch's name."""
        return self.model.state_dict()

    def load_weights(self, weights: Mapping[str, NDArray[Any]]) -> None:
        """Load what `weights` returned for a network like this one."""
        self.model.load_state_dict(weights)

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return everything the next step depends on: weights, optimizers, random generator."""
        arrays = {f"weights/{name}": value for name, value in self.weights().items()}
        steps = {group: optimizer.t for group, optimizer in self.optimizers.items()}
        return arrays | self.slots(), {"steps": steps, "random": self.random.bit_generator.state}

    def load_state(self, arrays: Mapping[str, NDArray[Any]], numbers: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""
        from shared.training.checkpoint import strip_prefix

        self.load_weights(strip_prefix("weights/", arrays))
        for group, optimizer in self.optimizers.items():
            optimizer.t = numbers["steps"][group]
        for name, value in self.slots().items():
            value[...] = arrays[name]
        self.random.bit_generator.state = numbers["random"]

    def slots(self) -> dict[str, Array]:
        """Return the arrays that the optimizers keep for each weight, by their names in a checkpoint."""
        return {
            f"optimizer/{name}/{slot}": value
            for optimizer in self.optimizers.values()
            for name, state in optimizer.state.items()
            for slot, value in state.items()
        }

    def to_dtype(self, inputs: NDArray[Any]) -> NDArray[Any]:
        """Return the inputs in the network's dtype; integers (word ids) stay integers."""
        return inputs.astype(self.dtype) if inputs.dtype.kind == "f" else inputs


class BinaryLoss:
    """A loss of logits (N, 1) and labels (N,), which become numbers of the logits' shape."""

    def __init__(self, loss: Any, activation: Module | None = None) -> None:
        self.loss, self.activation = loss, activation

    def forward(self, logits: Array, labels: Array) -> Array:
        """Return the loss."""
        outputs = self.activation.forward(logits) if self.activation else logits
        return self.loss.forward(outputs, labels[:, None].astype(logits.dtype))

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
    """Return the optimizer of that name, with the configured formula."""
    classes: dict[str, Callable[..., backprop.Optimizer]] = {
        "sgd": backprop.SGD,
        "momentum": backprop.SGD,
        "rmsprop": backprop.RMSprop,
        "adagrad": backprop.Adagrad,
        "adam": backprop.Adam,
        "adamw": backprop.AdamW,
    }
    return classes[config.name](params, **config.model_dump(exclude={"name"}))
