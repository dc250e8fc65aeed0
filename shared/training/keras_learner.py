"""Training in Keras, on TensorFlow."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from shared.config import AppConfig
from shared.data.examples import Examples
from shared.distributed import available_cores
from shared.errors import ConfigError
from shared.training.keras_optimizers import build_optimizer, set_lr_scales
from shared.training.losses import Loss
from shared.training.schedule import ALL, Indices, LrScales, lr_scale


class KerasLearner:
    """A network in Keras with its optimizer.

    `build_model` returns the network with its initial weights for `config.model`. A factor 0 in
    `lr_scales` freezes a layer, including the statistics of its batch normalization. The other
    arguments are those of TorchLearner.
    """

    asynchronous = False

    def __init__(
        self,
        build_model: Callable[[Any], keras.Model],
        config: AppConfig,
        loss: Loss = "cross_entropy",
        lr_scales: LrScales = ALL,
    ) -> None:
        set_threads(config.trainer.threads or available_cores())
        tf.config.experimental.enable_op_determinism()
        keras.utils.set_random_seed(config.seed)
        keras.config.set_floatx("float64" if config.trainer.precision == "float64" else "float32")
        keras.config.set_dtype_policy(
            "mixed_bfloat16" if config.trainer.precision == "bfloat16" else keras.config.floatx()
        )
        self.loss = loss
        self.clip_norm = config.trainer.clip_norm
        self.model = build_model(config.model)
        self.optimizer, self.l1 = build_optimizer(config.optimizer), config.optimizer.l1
        self.optimizer.build(self.model.trainable_variables)
        # One graph for batches of all sizes: a graph for one size may round differently, and a
        # resumed run may start with a batch of another size.
        self._inputs = tf.TensorSpec(self.model.input.shape, self.model.input.dtype)
        self.set_lr_scales(lr_scales)
        self._predict = tf.function(
            lambda inputs: self.model(inputs, training=False), input_signature=[self._inputs]
        )

    def step(self, examples: Examples, batch: Indices, lr: float) -> tuple[Any, Any]:
        """Take one optimizer step; return the batch's mean loss and number of correct predictions."""
        self.optimizer.learning_rate.assign(lr)
        return self._graph(self._tensor(examples.inputs[batch]), examples.labels[batch])

    def _step(self, inputs: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Forward, loss, backward, step: compiled into a graph at the first call."""
        with tf.GradientTape() as tape:
            logits = tf.cast(self.model(inputs, training=True), keras.config.floatx())
            loss = mean_loss(self.loss, logits, labels)
        weights = self.model.trainable_variables
        # tf.convert_to_tensor makes the sparse gradient of an embedding dense, for every optimizer.
        gradients = [tf.convert_to_tensor(gradient) for gradient in tape.gradient(loss, weights)]
        if self.clip_norm is not None:
            norm = tf.linalg.global_norm(gradients) + 1e-6  # torch's formula
            gradients = [gradient * tf.minimum(self.clip_norm / norm, 1) for gradient in gradients]
        if self.l1:  # Keras's optimizers do not have it
            gradients = [g + self.l1 * tf.sign(w) for g, w in zip(gradients, weights, strict=True)]
        self.optimizer.apply(gradients, weights)
        return loss, count_correct(self.loss, logits, labels)

    def to_device(self, examples: Examples) -> Examples:
        """Return the examples unchanged."""
        return examples

    def start_epoch(self, batches: Sequence[Indices]) -> Sequence[Indices]:
        """Return the batches unchanged."""
        return batches

    def set_lr_scales(self, lr_scales: LrScales) -> None:
        """Use these factors from now on; a frozen layer keeps its statistics."""
        self.lr_scales = lr_scales
        scales = {layer.name: lr_scale(layer.name, lr_scales) for layer in self.model.layers}
        for layer in self.model.layers:
            layer.trainable = scales[layer.name] > 0
        weights = {
            w.path: scales[layer.name] for layer in self.model.layers for w in layer.trainable_variables
        }
        set_lr_scales(self.optimizer, weights)
        self.parameters = sum(int(np.prod(w.shape)) for w in self.model.trainable_variables)
        signature = [self._inputs, tf.TensorSpec([None], tf.int64)]
        # A new graph. It has no branches, and is traced faster without searching for them.
        self._graph = tf.function(self._step, input_signature=signature, autograph=False)

    def _tensor(self, inputs: NDArray[Any]) -> tf.Tensor:
        """Return a batch in the dtype of the network's input."""
        return tf.cast(tf.constant(inputs), self._inputs.dtype)

    def logits(self, inputs: NDArray[Any]) -> NDArray[np.float64]:
        """Return the logits (N, classes) of one batch, in evaluation mode."""
        return np.asarray(self._predict(self._tensor(inputs)), dtype=np.float64)

    def weights(self) -> dict[str, NDArray[Any]]:
        """Return every weight by its path in Keras (conv1/kernel)."""
        return {weight.path: np.asarray(weight) for weight in self.model.weights}

    def load_weights(self, weights: Mapping[str, NDArray[Any]]) -> None:
        """Load what `weights` returned for a network like this one."""
        own = {weight.path: weight for weight in self.model.weights}
        if own.keys() != weights.keys():
            raise ValueError(f"expected {sorted(own)}, given {sorted(weights)}")
        for path, weight in own.items():
            weight.assign(weights[path])

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return everything the next step depends on: weights, optimizer, random generators."""
        return {name: np.asarray(value) for name, value in self._variables().items()}, {}

    def load_state(self, arrays: Mapping[str, NDArray[Any]], numbers: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""
        for name, variable in self._variables().items():
            variable.assign(arrays[name])

    def _variables(self) -> dict[str, Any]:
        """Return every variable by a name that is the same in another process.

        Keras numbers optimizers and generators per process; here their position counts.
        """
        weights = {f"weights/{weight.path}": weight for weight in self.model.weights}
        others = (v for v in self.model.variables if f"weights/{v.path}" not in weights)
        return {
            **weights,
            **{f"optimizer/{number}/{v.name}": v for number, v in enumerate(self.optimizer.variables)},
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


def count_correct(loss: Loss, logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Return the number of correct predictions in the batch."""
    one_logit = tf.cast(logits[:, 0] > 0, tf.int64)
    predicted = tf.argmax(logits, axis=1) if loss == "cross_entropy" else one_logit
    return tf.reduce_sum(tf.cast(predicted == labels, tf.int64))


def set_threads(count: int) -> None:
    """Let TensorFlow use `count` threads, which can be set only before its first operation.

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
