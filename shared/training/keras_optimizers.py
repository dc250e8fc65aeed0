"""torch.optim's update formulas as Keras optimizers, so that one configuration means one thing.

Keras's own optimizers differ from torch's in where the learning rate and epsilon enter, and in weight
decay. `optimizer.formula` chooses; conf/optimizer/*.yaml show both formulas.
In the formulas below g is the gradient, w the weight, t the step from 1.
"""

from typing import Any, ClassVar

import keras
import tensorflow as tf
from keras import ops

from shared.config import Adagrad, Adam, Momentum, Optimizer, RMSprop
from shared.errors import ConfigError


class TorchOptimizer(keras.optimizers.Optimizer):
    """The common part of torch's optimizers: L2 is added to the gradient."""

    state_names: ClassVar[tuple[str, ...]] = ()
    decoupled = False  # whether lr * weight_decay * w is subtracted from the weight instead

    def __init__(self, config: Any) -> None:
        super().__init__(learning_rate=config.lr, name=config.name)
        self.options = config
        self.initial = keras.initializers.Constant(getattr(config, "initial_accumulator_value", 0.0))
        self.state: list[list[keras.Variable]] = []
        self.lr_scales: dict[str, float] = {}  # by the path of the variable

    def build(self, variables: list[keras.Variable]) -> None:
        """Create the state of each variable."""
        if self.built:
            return
        super().build(variables)
        self.state = [
            [self.add_variable_from_reference(variable, name, self.initial) for name in self.state_names]
            for variable in variables
        ]

    def update_step(self, gradient: Any, variable: keras.Variable, learning_rate: keras.Variable) -> None:
        """Take one step of one variable."""
        rate, weight_decay = self.rate(learning_rate, variable), self.options.weight_decay
        if weight_decay and self.decoupled:
            variable.assign_sub(rate * weight_decay * variable)
        elif weight_decay:
            gradient = gradient + weight_decay * variable
        self.step(variable, gradient, rate, *self.state[self._get_variable_index(variable)])

    def rate(self, learning_rate: keras.Variable, variable: keras.Variable) -> Any:
        """Return the learning rate of one variable, in its dtype."""
        path = self._trainable_variables[self._get_variable_index(variable)].path
        return ops.cast(learning_rate, variable.dtype) * self.lr_scales.get(path, 1.0)

    def step(self, variable: Any, gradient: Any, rate: Any, *state: keras.Variable) -> None:
        """Update the state and the weight."""
        variable.assign_sub(rate * gradient)


class TorchMomentum(TorchOptimizer):
    """v = momentum * v + g;  w -= lr * v, or with Nesterov  w -= lr * (g + momentum * v)."""

    state_names = ("velocity",)

    def step(self, variable: Any, gradient: Any, rate: Any, *state: keras.Variable) -> None:
        (velocity,) = state
        velocity.assign(self.options.momentum * velocity + gradient)
        if self.options.nesterov:
            variable.assign_sub(rate * (gradient + self.options.momentum * velocity))
        else:
            variable.assign_sub(rate * velocity)


class TorchRMSprop(TorchOptimizer):
    """v = alpha * v + (1 - alpha) * g^2;  w -= lr * g / (sqrt(v) + eps)."""

    state_names = ("square",)

    def step(self, variable: Any, gradient: Any, rate: Any, *state: keras.Variable) -> None:
        (square,) = state
        alpha = self.options.alpha
        square.assign(alpha * square + (1 - alpha) * gradient**2)
        variable.assign_sub(rate * gradient / (ops.sqrt(square) + self.options.eps))


class TorchAdagrad(TorchOptimizer):
    """v += g^2;  w -= lr * g / (sqrt(v) + eps)."""

    state_names = ("sum",)

    def step(self, variable: Any, gradient: Any, rate: Any, *state: keras.Variable) -> None:
        (total,) = state
        total.assign(total + gradient**2)
        variable.assign_sub(rate * gradient / (ops.sqrt(total) + self.options.eps))


class TorchAdam(TorchOptimizer):
    """m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;
    w -= lr / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps).

    TensorFlow's operation takes one pass over the numbers; without sqrt(1 - b2^t) in its denominator, it
    needs eps times that. Written with Keras's operations, a step of the CNN takes a tenth longer.
    """

    state_names = ("mean", "square")

    def step(self, variable: Any, gradient: Any, rate: Any, *state: keras.Variable) -> None:
        mean, square = state
        beta1, beta2 = self.options.betas
        t = ops.cast(self.iterations + 1, rate.dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=mean.handle,
            v=square.handle,
            beta1_power=beta1**t,
            beta2_power=beta2**t,
            lr=rate,
            beta1=beta1,
            beta2=beta2,
            epsilon=self.options.eps * ops.sqrt(1 - beta2**t),
            grad=gradient,
        )


class TorchAdamW(TorchAdam):
    """Adam after w *= 1 - lr * weight_decay; the gradient stays as it is."""

    decoupled = True


def build_optimizer(config: Optimizer) -> keras.optimizers.Optimizer:
    """Return the optimizer of that name with the configured formula."""
    if getattr(config, "formula", "torch") == "keras":
        return keras_formula(config)
    classes: dict[str, type[TorchOptimizer]] = {
        "sgd": TorchOptimizer,
        "momentum": TorchMomentum,
        "rmsprop": TorchRMSprop,
        "adagrad": TorchAdagrad,
        "adam": TorchAdam,
        "adamw": TorchAdamW,
    }
    return classes[config.name](config)


def set_lr_scales(optimizer: keras.optimizers.Optimizer, lr_scales: dict[str, float]) -> None:
    """Multiply the learning rate of each variable by its factor, given by the variable's path.

    Raises:
        ConfigError: Keras's own optimizers have one learning rate for all layers.
    """
    if isinstance(optimizer, TorchOptimizer):
        optimizer.lr_scales = lr_scales
    elif any(scale != 1 for scale in lr_scales.values()):
        raise ConfigError(
            "optimizer.formula=keras has one learning rate for all layers; use optimizer.formula=torch "
            "for different learning rates"
        )


def keras_formula(config: Optimizer) -> keras.optimizers.Optimizer:
    """Return Keras's own optimizer of that name; its weight decay is always decoupled."""
    # adamw does not accept None; elsewhere None saves an operation that 0 would cost.
    decay = config.weight_decay if config.name == "adamw" else config.weight_decay or None
    common = {"learning_rate": config.lr, "weight_decay": decay}
    match config:
        case Momentum():
            return keras.optimizers.SGD(momentum=config.momentum, nesterov=config.nesterov, **common)
        case RMSprop():
            return keras.optimizers.RMSprop(rho=config.alpha, epsilon=config.eps, **common)
        case Adagrad():
            return keras.optimizers.Adagrad(
                initial_accumulator_value=config.initial_accumulator_value, epsilon=config.eps, **common
            )
        case Adam():
            kind = keras.optimizers.Adam if config.name == "adam" else keras.optimizers.AdamW
            beta1, beta2 = config.betas
            return kind(beta_1=beta1, beta_2=beta2, epsilon=config.eps, **common)
