"""The networks in Keras."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from numpy.typing import NDArray

from apps.gradient_flow.networks import CLASSES, Array, Dense, Gradients, Network, Recurrent, Weights
from shared.training.keras_learner import set_threads

ACTIVATIONS = {"sigmoid": "sigmoid", "tanh": "tanh", "ReLU": "relu"}
DTYPE = "float64"
EMPTY = {"dtype": DTYPE, "kernel_initializer": "zeros"}  # each call brings its own weights


def prepare(threads: int) -> None:
    """Let TensorFlow use so many threads, and only what gives the same bits each time."""
    set_threads(threads)
    tf.config.experimental.enable_op_determinism()


def build_model(network: Network) -> keras.Model:
    """Return the network in Keras, float64.

    Of a `Dense`, the inputs are x and, with dropout, a factor (N, width) for each hidden layer; the
    outputs are the logits and what each hidden layer gives.
    """
    if isinstance(network, Recurrent):
        return keras_recurrent(network)
    return keras_dense(network)


def keras_dense(network: Dense) -> keras.Model:
    """Return `Dense` in Keras."""
    x = inputs = keras.Input((network.inputs,), dtype=DTYPE)
    factors, hidden = [], []
    for layer in range(1, network.depth + 1):
        linear = layers.Dense(network.width, use_bias=not network.norm, name=f"linear{layer}", **EMPTY)
        y = linear(x)
        if network.norm:
            y = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, dtype=DTYPE, name=f"norm{layer}")(y)
        if network.activation != "none":
            y = layers.Activation(ACTIVATIONS[network.activation], dtype=DTYPE)(y)
        if network.dropout:
            factors.append(keras.Input((network.width,), dtype=DTYPE))
            y = layers.Multiply(dtype=DTYPE)([y, factors[-1]])
        x = layers.Add(dtype=DTYPE)([x, y]) if network.residual and layer > 1 else y
        hidden.append(x)
    logits = layers.Dense(CLASSES, name="output", **EMPTY)(x)
    model = keras.Model([inputs, *factors], [logits, *hidden])
    model.kept = 1 - network.dropout  # the share that dropout keeps
    return model


def keras_recurrent(network: Recurrent) -> keras.Model:
    """Return `Recurrent` in Keras; the number of steps is left open."""
    inputs = keras.Input((None, network.inputs), dtype=DTYPE)
    kind = layers.LSTM if network.cell == "lstm" else layers.SimpleRNN
    state = kind(network.hidden, name="cell", recurrent_initializer="zeros", **EMPTY)(inputs)
    return keras.Model([inputs], [layers.Dense(CLASSES, name="output", **EMPTY)(state)])


def gradients(
    model: keras.Model,
    weights: Weights,
    inputs: Array,
    labels: NDArray[np.int64],
    masks: Sequence[NDArray[np.bool_]] = (),
) -> Gradients:
    """Return loss and gradients of one batch, by a gradient tape; see `networks.Engine`."""
    _load(model, weights)
    x = tf.constant(inputs)
    with tf.GradientTape() as tape:
        tape.watch(x)
        result = model([x, *_factors(model, len(inputs), masks)], training=True)
        logits, *hidden = result if isinstance(result, list) else [result]
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
    variables = model.trainable_variables
    found = [np.asarray(g) for g in tape.gradient(loss, [*variables, *(hidden or [x])])]
    by_path = {v.path: g for v, g in zip(variables, found, strict=False)}
    flow = found[len(variables) :]
    stacked = np.stack(flow) if hidden else flow[0].swapaxes(0, 1)
    return Gradients(float(loss), {name: _from_keras(name, by_path) for name in weights}, stacked)


def logits(model: keras.Model, weights: Weights, inputs: Array) -> Array:
    """Return the logits (N, 10), without dropout."""
    _load(model, weights)
    result = model([tf.constant(inputs), *_factors(model, len(inputs), ())], training=False)
    return np.asarray(result[0] if isinstance(result, list) else result)


def _factors(model: keras.Model, count: int, masks: Sequence[NDArray[np.bool_]]) -> list[tf.Tensor]:
    """Return what each hidden layer's output is multiplied with: dropout, or ones."""
    if not masks:
        return [tf.ones((count, put.shape[1]), DTYPE) for put in model.inputs[1:]]
    return [tf.constant(mask / model.kept) for mask in masks]


def _load(model: keras.Model, weights: Weights) -> None:
    """Copy the weights in; the two biases of a recurrent layer are one in Keras, their sum."""
    for layer in model.layers:
        own = {n.split(".")[1]: w for n, w in weights.items() if n.split(".")[0] == layer.name}
        if layer.name == "cell":
            bias = own["bias_ih_l0"] + own["bias_hh_l0"]
            layer.set_weights([own["weight_ih_l0"].T, own["weight_hh_l0"].T, bias])
        elif layer.name.startswith("norm"):
            layer.gamma.assign(own["weight"])
            layer.beta.assign(own["bias"])
        elif own:
            layer.set_weights([own["weight"].T, *([own["bias"]] if "bias" in own else [])])


def _from_keras(name: str, found: dict[str, Array]) -> Array:
    """Return the gradient of a weight by torch's name for it, in torch's layout."""
    layer, _, key = name.partition(".")
    if layer.startswith("norm"):
        return found[f"{layer}/{'gamma' if key == 'weight' else 'beta'}"]
    if layer == "cell":
        own = {path.rpartition("/")[2]: g for path, g in found.items() if path.startswith("cell/")}
        kinds = {"weight_ih_l0": "kernel", "weight_hh_l0": "recurrent_kernel"}
        return own[kinds[key]].T if key in kinds else own["bias"]
    return found[f"{layer}/kernel"].T if key == "weight" else found[f"{layer}/bias"]
