"""The same networks in Keras."""

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops
from numpy.typing import NDArray

from apps.imdb_rnn.config import BiLstm, Bow, Lstm, Nbsvm, Rnn
from shared.data.sequences import PAD
from shared.training.keras_dropout import ByteDropout
from shared.training.keras_initializers import torch_initializers

NOTHING = -1e9  # smaller than any state of a word: padding never has the maximum


def build_model(config: Lstm | BiLstm | Rnn | Bow | Nbsvm, tokens: int, outputs: int = 1) -> keras.Model:
    """Return the network that `config.name` names; ids (N, T) to logits (N, outputs). See torch_model.py."""
    ids = keras.Input((None,), dtype="int64")
    match config:
        case Lstm() | BiLstm() | Rnn():
            x = embedding(tokens, config.embedding, config.embedding_std)(ids)
            if config.embedding_dropout:  # the words of a text share the mask
                x = x * ByteDropout(config.embedding_dropout)(ops.ones_like(x[:, :1]))
            x = recurrent(config)(x, ids != PAD)
        case Nbsvm():
            return keras.Model(ids, naive_bayes_logits(ids, tokens, config.buckets, outputs))
        case Bow():
            rows, mask = words_and_pairs(ids, tokens, config.buckets)
            x = embedding(tokens + config.buckets, config.embedding, 1 / math.sqrt(tokens))(rows)
            weights = ops.cast(mask, x.dtype)
            weights = weights / ops.sum(weights, axis=1, keepdims=True)
            x = ops.sum(x * ops.expand_dims(weights, axis=2), axis=1)
    last = layers.Dense(outputs, name="fc", **torch_initializers(x.shape[-1]))
    return keras.Model(ids, last(ByteDropout(config.dropout)(x)))


def words_and_pairs(ids: Any, tokens: int, buckets: int) -> tuple[Any, Any]:
    """Return the rows of the T words, then of the T - 1 pairs, and which are not padding, (N, 2 T - 1)."""
    pairs = tokens + (ids[:, :-1] * 31_337 + ids[:, 1:]) % buckets
    valid = ops.concatenate([ids != PAD, ids[:, 1:] != PAD], axis=1)
    return ops.concatenate([ids, pairs], axis=1), valid


def naive_bayes_logits(ids: Any, tokens: int, buckets: int, outputs: int) -> Any:
    """Return the logits (N, outputs) of `TorchNbsvm`."""
    rows, valid = words_and_pairs(ids, tokens, buckets)
    table = embedding(tokens + buckets, outputs, 0.0)
    bias = layers.Embedding(1, outputs, embeddings_initializer="zeros", name="bias")
    ratios = layers.Embedding(tokens + buckets, outputs, name="ratios", trainable=False)
    valid_rows = ops.where(valid, rows, PAD)
    order = ops.argsort(valid_rows, axis=1)  # TensorFlow's is stable
    rising = ops.take_along_axis(valid_rows, order, axis=1)
    is_first = rising != ops.pad(rising[:, :-1], ((0, 0), (1, 0)), constant_values=PAD)
    mask = ops.take_along_axis(is_first, ops.argsort(order, axis=1), axis=1)
    features = ratios(rows) * ops.cast(mask, table.compute_dtype)[:, :, None]
    return ops.sum(table(rows) * features, axis=1) + bias(0 * ids[:, 0])


def embedding(rows: int, size: int, std: float) -> layers.Embedding:
    """Return an embedding whose initial values are N(0, std^2)."""
    initial = keras.initializers.RandomNormal(stddev=std)
    return layers.Embedding(rows, size, embeddings_initializer=initial, name="embedding")


def recurrent(config: Lstm | BiLstm | Rnn) -> Callable[[Any, Any], Any]:
    """Return the recurrent layer with its readout: words (N, T, embedding) and mask (N, T) to (N, units).

    It draws its weights as torch does: the range of both matrices is 1 / sqrt(hidden).
    """
    options = torch_initializers(config.hidden)
    options["recurrent_initializer"] = torch_initializers(config.hidden)["kernel_initializer"]
    options["dropout"], options["recurrent_dropout"] = config.recurrent_dropout or (0, 0)
    options |= {"name": config.name, "return_sequences": config.readout == "max"}
    if config.name == "rnn":
        layer = layers.SimpleRNN(config.hidden, **options)
    else:
        layer = layers.LSTM(config.hidden, unit_forget_bias=False, **options)
    if config.name == "bilstm":
        layer = layers.Bidirectional(layer, name=config.name)
    # A padded step leaves the state as it was: the last state is that of the last word, and the reverse
    # direction begins there. The maximum over time of one direction needs no mask inside the layer.
    is_masked = config.readout == "last" or config.name == "bilstm"

    def read(words: Any, mask: Any) -> Any:
        states = layer(words, mask=mask if is_masked else None)
        if config.readout == "last":
            return states
        return ops.max(ops.where(mask[:, :, None], states, NOTHING), axis=1)

    return read


def embedding_gradients(
    model: keras.Model, ids: NDArray[np.int64], output: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the embedded words, and each logit's gradient; see torch_model.py."""
    embedding = model.get_layer("embedding").output
    read = keras.Model([embedding, model.input], model.output)
    batch = tf.constant(ids)
    embedded = keras.Model(model.input, embedding)(batch)
    with tf.GradientTape() as tape:
        tape.watch(embedded)
        logits = read([embedded, batch], training=False)[:, output]
    return np.asarray(embedded), np.asarray(tape.gradient(logits, embedded))
