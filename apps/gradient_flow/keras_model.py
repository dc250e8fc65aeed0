"""The networks in Keras."""

import keras
import numpy as np
import tensorflow as tf
from keras import Model, layers

from apps.gradient_flow.networks import CLASSES, Array, Dense, Gradients, Masks, Network, Weights
from shared.data.examples import Examples
from shared.training.keras_learner import set_threads

ACTIVATIONS = {"sigmoid": "sigmoid", "tanh": "tanh", "ReLU": "relu"}
DTYPE = "float64"
# Keras has one bias in an RNN or LSTM, the sum of PyTorch's two.
FIRST_BIAS, SECOND_BIAS = "cell.bias_ih_l0", "cell.bias_hh_l0"
EMPTY = {"dtype": DTYPE, "kernel_initializer": "zeros"}  # each call brings its own weights


def prepare(threads: int) -> None:
    """See numpy_model.py."""
    set_threads(threads)
    tf.config.experimental.enable_op_determinism()


def build_model(network: Network) -> Model:
    """Return the network in Keras, float64; its weights are given with each call below.

    The inputs of a `Dense` with dropout are x and a factor (N, width) for each hidden layer; its
    outputs are the logits and the output of each hidden layer.
    """
    if isinstance(network, Dense):
        return keras_dense(network)
    inputs = keras.Input((None, network.inputs), dtype=DTYPE)  # any number of steps
    kind = layers.LSTM if network.cell == "lstm" else layers.SimpleRNN
    state = kind(network.hidden, name="cell", recurrent_initializer="zeros", **EMPTY)(inputs)
    return Model([inputs], [layers.Dense(CLASSES, name="output", **EMPTY)(state)])


def keras_dense(network: Dense) -> Model:
    """Return `Dense` in Keras."""
    x = inputs = keras.Input((network.inputs,), dtype=DTYPE)
    factors, hidden = [], []
    for layer in range(1, network.depth + 1):
        y = layers.Dense(network.width, use_bias=not network.norm, name=f"linear{layer}", **EMPTY)(x)
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
    model = Model([inputs, *factors], [logits, *hidden])
    model.keep = 1 - network.dropout  # probability that dropout keeps a value
    return model


def load_weights(model: Model, weights: Weights) -> None:
    """Copy the weights into the network; running statistics stay as they are."""
    if SECOND_BIAS in weights:
        weights = weights | {FIRST_BIAS: weights[FIRST_BIAS] + weights[SECOND_BIAS]}
    for name, variable in zip(keras_order(weights), model.trainable_variables, strict=True):
        variable.assign(weights[name].T)


def keras_order(weights: Weights) -> list[str]:
    """Return the names of the weights in the order of Keras's variables, whose matrices are transposed."""
    return [name for name in weights if name != SECOND_BIAS]


def gradients(model: Model, weights: Weights, batch: Examples, masks: Masks = ()) -> Gradients:
    """Return loss and gradients of a batch, by a gradient tape; see numpy_model.py."""
    load_weights(model, weights)
    x = tf.constant(batch.inputs)
    with tf.GradientTape() as tape:
        tape.watch(x)
        factors = [tf.constant(mask / model.keep) for mask in masks]
        logits, *hidden = outputs(model, [x, *factors], training=True)
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(batch.labels, logits))
    variables = model.trainable_variables
    found = [np.asarray(g) for g in tape.gradient(loss, [*variables, *(hidden or [x])])]
    parameters = {name: g.T for name, g in zip(keras_order(weights), found, strict=False)}
    if SECOND_BIAS in weights:
        parameters[SECOND_BIAS] = parameters[FIRST_BIAS]
    flow = found[len(variables) :]
    stacked = np.stack(flow) if hidden else flow[0].swapaxes(0, 1)
    return Gradients(float(loss), np.asarray(logits), {name: parameters[name] for name in weights}, stacked)


def logits(model: Model, weights: Weights, inputs: Array) -> Array:
    """Return the logits (N, 10) in evaluation mode."""
    load_weights(model, weights)
    ones = [tf.ones((len(inputs), factor.shape[1]), DTYPE) for factor in model.inputs[1:]]  # no dropout
    return np.asarray(outputs(model, [tf.constant(inputs), *ones], training=False)[0])


def logits_only(model: Model) -> Model:
    """Return the network without the outputs of its hidden layers."""
    return Model(model.inputs[0], model.outputs[0])


def outputs(model: Model, inputs: list[tf.Tensor], training: bool) -> list[tf.Tensor]:
    """Return the outputs of a model as a list, also if there is only one."""
    result = model(inputs, training=training)
    return result if isinstance(result, list) else [result]
