"""The training loop in Keras, on TensorFlow."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from shared.config import AppConfig
from shared.data.examples import Examples
from shared.errors import ConfigError
from shared.runs.environment import available_cores
from shared.training.keras_optimizers import build_optimizer, set_factors
from shared.training.loop import Indices
from shared.training.losses import Loss
from shared.training.lr_scale import ALL, LrScales, factor
from shared.training.memory import keep_freed_memory


class KerasLearner:
    """A network in Keras with its optimizer.

    Args:
        build: makes the network, with freshly drawn weights, from `config.model`.
        config: seed, threads, precision and optimizer are taken from here.
        loss: what it is trained on.
        rates: how fast its parts learn; a part with the factor 0 stays as it is, the statistics of
            its batch normalization included.
    """

    asynchronous = False  # train yields numbers

    def __init__(
        self,
        build: Callable[[Any], keras.Model],
        config: AppConfig,
        loss: Loss = "cross_entropy",
        rates: LrScales = ALL,
    ) -> None:
        keep_freed_memory()
        set_threads(config.trainer.threads or available_cores())
        tf.config.experimental.enable_op_determinism()
        keras.utils.set_random_seed(config.seed)
        keras.config.set_floatx("float64" if config.trainer.precision == "float64" else "float32")
        keras.config.set_dtype_policy(
            "mixed_bfloat16" if config.trainer.precision == "bfloat16" else keras.config.floatx()
        )
        self.loss = loss
        self.clip_norm = config.trainer.clip_norm
        self.model = build(config.model)
        self.optimizer = build_optimizer(config.optimizer)
        self.optimizer.build(self.model.trainable_variables)
        # One graph for batches of all sizes: another one may round otherwise, and which batch comes
        # first differs where a run goes on.
        self._inputs = tf.TensorSpec(self.model.input.shape, self.model.input.dtype)
        self.set_lr_scales(rates)
        self._predict = tf.function(
            lambda inputs: self.model(inputs, training=False), input_signature=[self._inputs]
        )

    def set_lr_scales(self, rates: LrScales) -> None:
        """Let the layers learn at these rates from now on; a frozen one keeps its statistics."""
        self.lr_scales = rates
        factors = {layer.name: factor(layer.name, rates) for layer in self.model.layers}
        for layer in self.model.layers:
            layer.trainable = factors[layer.name] > 0
        set_factors(
            self.optimizer,
            {
                weight.path: factors[layer.name]
                for layer in self.model.layers
                for weight in layer.trainable_variables
            },
        )
        self.parameters = sum(int(np.prod(w.shape)) for w in self.model.trainable_variables)
        signature = [self._inputs, tf.TensorSpec([None], tf.int64)]
        # Another graph; it branches on no tensor, and is traced faster where nobody looks for that.
        self._step = tf.function(self._one_step, input_signature=signature, autograph=False)

    def placed(self, examples: Examples) -> Examples:
        """Return the examples as they are."""
        return examples

    def train(
        self, examples: Examples, steps: Sequence[tuple[Indices, float]]
    ) -> Iterator[tuple[float, int]]:
        """Take a step for each (batch, learning rate); yield the batch's mean loss and its hits."""
        for batch, rate in steps:
            self.optimizer.learning_rate.assign(rate)
            loss, hits = self._step(self._given(examples.inputs[batch]), examples.labels[batch])
            yield float(loss), int(hits)

    def _given(self, inputs: NDArray[Any]) -> tf.Tensor:
        """Return a batch as the network takes it: uint8 pictures, say, as floating point."""
        return tf.cast(tf.constant(inputs), self._inputs.dtype)

    def _one_step(self, inputs: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Forward, loss, backward, step: compiled into a graph at the first call."""
        with tf.GradientTape() as tape:
            logits = tf.cast(self.model(inputs, training=True), keras.config.floatx())
            loss = mean_loss(self.loss, logits, labels)
        variables = self.model.trainable_variables
        # The gradient of an embedding comes as its rows: as a whole, every optimizer can take it.
        gradients = [tf.convert_to_tensor(g) for g in tape.gradient(loss, variables)]
        if self.clip_norm is not None:
            gradients = clipped(gradients, self.clip_norm)
        self.optimizer.apply(gradients, variables)
        return loss, hits(self.loss, logits, labels)

    def logits(self, inputs: NDArray[Any]) -> NDArray[np.float64]:
        """Return the logits (N, classes) of one batch, in evaluation mode."""
        return np.asarray(self._predict(self._given(inputs)), dtype=np.float64)

    def weights(self) -> dict[str, NDArray[Any]]:
        """Return every weight under its path in Keras (conv1/kernel)."""
        return {weight.path: np.asarray(weight) for weight in self.model.weights}

    def load_weights(self, weights: Mapping[str, NDArray[Any]]) -> None:
        """Take over what `weights` of such a network has given."""
        own = {weight.path: weight for weight in self.model.weights}
        if own.keys() != weights.keys():
            raise ValueError(f"expected {sorted(own)}, given {sorted(weights)}")
        for path, weight in own.items():
            weight.assign(weights[path])

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return all that its next step depends on: weights, optimizer, generators of dropout."""
        return {name: np.asarray(value) for name, value in self._variables().items()}, {}

    def load_state(self, arrays: Mapping[str, NDArray[Any]], numbers: Mapping[str, Any]) -> None:
        """Take over what `state` of such a network has returned."""
        for name, variable in self._variables().items():
            variable.assign(arrays[name])

    def _variables(self) -> dict[str, Any]:
        """Return every variable by a name that is the same in another process.

        Keras numbers optimizers and generators through the whole process: here by their place.
        """
        weights = {weight.path: weight for weight in self.model.weights}
        optimizer = dict(enumerate(self.optimizer.variables))
        others = (v for v in self.model.variables if v.path not in weights)
        return {
            **{f"weights/{path}": weight for path, weight in weights.items()},
            **{f"optimizer/{number}/{v.name}": v for number, v in optimizer.items()},
            **{f"random/{number}": v for number, v in enumerate(others)},
        }


def mean_loss(loss: Loss, logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Return the loss of that name (shared/training/losses.py), the mean over the batch."""
    if loss == "cross_entropy":
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
    targets = tf.cast(labels[:, None], logits.dtype)
    if loss == "binary_cross_entropy":
        return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(targets, logits))
    return tf.reduce_mean((tf.sigmoid(logits) - targets) ** 2)


def hits(loss: Loss, logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Return how many of the batch's examples are classified right."""
    one_logit = tf.cast(logits[:, 0] > 0, tf.int64)
    predicted = tf.argmax(logits, axis=1) if loss == "cross_entropy" else one_logit
    return tf.reduce_sum(tf.cast(predicted == labels, tf.int64))


def clipped(gradients: list[tf.Tensor], max_norm: float) -> list[tf.Tensor]:
    """Return the gradients so that their norm together is max_norm at most, in torch's formula."""
    factor = tf.minimum(max_norm / (tf.linalg.global_norm(gradients) + 1e-6), 1)
    return [gradient * factor for gradient in gradients]


def set_threads(count: int) -> None:
    """Let TensorFlow use `count` threads, which it can be told only before its first operation.

    Raises:
        ConfigError: TensorFlow has started with another number in this process.
    """
    started_with = tf.config.threading.get_intra_op_parallelism_threads()
    if started_with == count:
        return
    try:
        tf.config.threading.set_intra_op_parallelism_threads(count)
        tf.config.threading.set_inter_op_parallelism_threads(count)
    except RuntimeError:
        if started_with == 0 and count == available_cores():  # 0: it took all cores by itself
            return
        raise ConfigError(
            f"trainer.threads={count}: TensorFlow runs with {started_with} threads already and "
            "cannot change within one process; start one command for each number of threads"
        ) from None
