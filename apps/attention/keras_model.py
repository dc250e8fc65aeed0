"""The same networks in Keras."""

import math
from typing import Any

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

from apps.attention.config import MeanPooling, Model, MultiHead, SingleHead
from shared.data.sequences import PAD
from shared.training.keras_dropout import ByteDropout
from shared.training.keras_initializers import torch_initializers


def read(ids: Any, config: Model, tokens: int, paired: bool) -> tuple[Any, Any, Any]:
    """Return the question (N, 1, E), the items (N, S, E), and the mask (N, 1, S)."""
    if not paired:
        ids = ops.concatenate([ids, ops.full_like(ids[:, :1], tokens)], axis=1)
    embedding = layers.Embedding(
        tokens + (not paired),
        config.embedding,
        embeddings_initializer=keras.initializers.RandomNormal(stddev=config.std),
        name="embedding",
    )
    x = embedding(ids)
    if paired:
        mask = ops.expand_dims(ids[:, :-1:2] != PAD, axis=1)
        return x[:, -1:], x[:, :-1:2] + x[:, 1::2], mask
    return x[:, -1:], x[:, :-1], ops.expand_dims(ids[:, :-1] != PAD, axis=1)


def single_head(question: Any, items: Any, mask: Any) -> Any:
    """Return what `TorchSingleHead` mixes, (N, 1, E)."""
    size = items.shape[-1]
    projected = dense(size, size, "query")(question), dense(size, size, "key")(items)
    mixed, _ = attention(*projected, dense(size, size, "value")(items), mask)
    return mixed


def multi_head(question: Any, items: Any, mask: Any, heads: int) -> Any:
    """Return what `TorchMultiHead` mixes, (N, 1, E).

    The layer takes the mask as it is: True may be attended.
    """
    size = items.shape[-1]
    layer = layers.MultiHeadAttention(heads, size // heads, name="attention")
    mixed, _ = layer(question, items, attention_mask=mask, return_attention_scores=True)
    return mixed


def mean_pooling(items: Any, mask: Any) -> Any:
    """Return what `TorchMeanPooling` mixes, (N, 1, E)."""
    size = items.shape[-1]
    weights = ops.cast(mask, items.dtype)
    weights = name_weights(weights / ops.sum(weights, axis=-1, keepdims=True))
    return ops.matmul(weights, dense(size, size, "value")(items))


def attention(query: Any, key: Any, value: Any, mask: Any) -> tuple[Any, Any]:
    """Return the mixture of the values and the weights; see torch_model.py."""
    scores = ops.matmul(query, ops.swapaxes(key, -2, -1)) / math.sqrt(query.shape[-1])
    weights = name_weights(ops.softmax(ops.where(mask, scores, -math.inf), axis=-1))
    return ops.matmul(weights, value), weights


def dense(size: int, outputs: int, name: str) -> layers.Dense:
    """Return a dense layer with torch's initial weights."""
    return layers.Dense(outputs, name=name, **torch_initializers(size))


def name_weights(weights: Any) -> Any:
    """Return the weights as they are, from a layer with a name at which they can be found."""
    return layers.Identity(name="weights")(weights)


def attention_weights(model: keras.Model, ids: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the weight of each item, (N, heads, S), for ids (N, T); 0 for padding."""
    outputs = {layer.name: layer.output for layer in model.layers}
    of_one_head = "weights" in outputs  # the layer of several heads gives mixture and weights
    weights = outputs["weights"] if of_one_head else outputs["attention"][1][:, :, 0]
    values = keras.Model(model.input, weights)(ids, training=False)
    return np.asarray(values, dtype=np.float64)


def build_model(config: Model, tokens: int, outputs: int, paired: bool) -> keras.Model:
    """Return the network that `config.name` names; ids (N, T) to logits (N, outputs).

    See torch_model.py.
    """
    ids = keras.Input((None,), dtype="int64")
    question, items, mask = read(ids, config, tokens, paired)
    match config:
        case SingleHead():
            mixed = single_head(question, items, mask)
        case MultiHead():
            mixed = multi_head(question, items, mask, config.heads)
        case MeanPooling():
            mixed = mean_pooling(items, mask)
    x = ByteDropout(config.dropout)((question + mixed)[:, 0])
    return keras.Model(ids, dense(config.embedding, outputs, "fc")(x))
