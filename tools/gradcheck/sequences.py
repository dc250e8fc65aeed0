"""Recurrent layers and attention."""

from dataclasses import replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import torch
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tools.gradcheck.comparison import Case
from tools.gradcheck.entries import Options, entry, in_torch, make_case, stateless

Rng = np.random.Generator
SIZES = st.integers(1, 3)

# Recurrent layers

RECURRENT = {
    "steps": st.integers(1, 4),
    "count": SIZES,
    "inputs": SIZES,
    "hidden": SIZES,
    "bias": st.booleans(),
    "batch_first": st.booleans(),
    "initial": st.booleans(),
    "lengths": st.booleans(),
}
RECURRENT_ALWAYS = [
    {
        "steps": 4,
        "count": 3,
        "inputs": 2,
        "hidden": 2,
        "bias": True,
        "batch_first": first,
        "initial": True,
        "lengths": lengths,
    }
    for first, lengths in [(False, False), (True, True)]
]


def recurrent(lib: Any, o: Options, rng: Rng, name: str) -> Case:
    steps, count, hidden, batch_first = o["steps"], o["count"], o["hidden"], o["batch_first"]
    lengths = np.sort(rng.integers(1, steps + 1, count))[::-1] if o["lengths"] else None
    if lengths is not None:
        lengths = rng.permutation(lengths)
    lead = (count, steps) if batch_first else (steps, count)
    inputs = {"x": rng.standard_normal((*lead, o["inputs"]))}
    states = ("h0", "c0") if name == "LSTM" else ("h0",)
    if o["initial"]:
        inputs |= {key: rng.standard_normal((1, count, hidden)) for key in states}
    keywords = {} if lengths is None else {"lengths": lengths}
    case = make_case(
        name,
        lambda dtype: getattr(lib, name)(
            o["inputs"], hidden, bias=o["bias"], batch_first=batch_first, dtype=dtype
        ),
        rng,
        inputs,
        recurrent_in_torch(o, name, lengths),
        recurrent_in_keras(o, name, lengths),
        keywords,
    )
    note = "" if name == "GRU" else "Keras has one bias, in which torch's two are added up"
    return replace(case, note=note)


def recurrent_in_torch(o: Options, name: str, lengths: Any) -> Any:
    """A packed sequence says where each example ends."""
    module = getattr(nn, name)(
        o["inputs"], o["hidden"], bias=o["bias"], batch_first=o["batch_first"], dtype=torch.float64
    )

    def side(inputs: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
        x, *given = inputs.values()
        hx = tuple(given) if len(given) > 1 else (given[0] if given else None)
        if lengths is not None:
            x = pack_padded_sequence(x, torch.tensor(lengths), o["batch_first"], False)
        y, last = torch.func.functional_call(module, state, (x, hx), strict=True)
        if lengths is not None:
            y, _ = pad_packed_sequence(y, o["batch_first"], total_length=o["steps"])
        last = last if isinstance(last, tuple) else (last,)
        return {"y": y, **dict(zip(("h_n", "c_n"), last, strict=False))}

    return side


def recurrent_in_keras(o: Options, name: str, lengths: Any) -> Any:
    """Keras wants (N, T, C), a mask in place of lengths, and has one bias (GRU: two)."""
    hidden = o["hidden"]
    kind = {"RNN": keras.layers.SimpleRNN, "LSTM": keras.layers.LSTM, "GRU": keras.layers.GRU}[name]
    mask = None if lengths is None else tf.constant(np.arange(o["steps"]) < lengths[:, None])

    def side(inputs: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
        layer = kind(
            hidden,
            use_bias=o["bias"],
            return_sequences=True,
            return_state=True,
            unroll=True,
            zero_output_for_mask=True,
        )
        x, *given = inputs.values()
        x = x if o["batch_first"] else tf.transpose(x, (1, 0, 2))
        layer.build(x.shape)
        initial = [one[0] for one in given] or None
        y, *last = stateless(layer, recurrent_weights(name, state), x, initial_state=initial, mask=mask)
        y = y if o["batch_first"] else tf.transpose(y, (1, 0, 2))
        return {"y": y, **{key: h[None] for key, h in zip(("h_n", "c_n"), last, strict=False)}}

    return side


def recurrent_weights(name: str, state: dict[str, Any]) -> list[Any]:
    """Return the weights as Keras has them: (in, G H), and the GRU's gates in the order z, r, n."""

    def ordered(w: Any) -> Any:
        if name != "GRU":
            return w
        r, z, n = tf.split(w, 3)
        return tf.concat([z, r, n], 0)

    matrices = [tf.transpose(ordered(state[f"weight_{kind}_l0"])) for kind in ("ih", "hh")]
    if "bias_ih_l0" not in state:
        return matrices
    biases = [ordered(state[f"bias_{kind}_l0"]) for kind in ("ih", "hh")]
    return [*matrices, tf.stack(biases) if name == "GRU" else biases[0] + biases[1]]


@entry("RNN", 12, always=RECURRENT_ALWAYS, **RECURRENT)
def rnn(lib: Any, o: Options, rng: Rng) -> Case:
    return recurrent(lib, o, rng, "RNN")


@entry("LSTM", 14, always=RECURRENT_ALWAYS, **RECURRENT)
def lstm(lib: Any, o: Options, rng: Rng) -> Case:
    return recurrent(lib, o, rng, "LSTM")


@entry("GRU", 14, always=RECURRENT_ALWAYS, **RECURRENT)
def gru(lib: Any, o: Options, rng: Rng) -> Case:
    return recurrent(lib, o, rng, "GRU")


# Attention


def random_mask(rng: Rng, shape: tuple[int, ...]) -> Any:
    """Return booleans of which every row has a True."""
    mask = rng.random(shape) < 0.6
    mask[..., 0] |= ~mask.any(axis=-1)
    return mask


def broadcast(shape: tuple[int, ...], whole: list[bool]) -> tuple[int, ...]:
    """Return the shape with 1 for the axes that are not whole; the last one always is."""
    return (*(n if all_ else 1 for n, all_ in zip(shape[:-1], whole, strict=False)), shape[-1])


@entry(
    "ScaledDotProductAttention",
    15,
    lead=st.lists(SIZES, max_size=2),
    queries=SIZES,
    keys=st.integers(1, 4),
    width=SIZES,
    values=SIZES,
    masked=st.booleans(),
    whole=st.lists(st.booleans(), min_size=3, max_size=3),
    always=[
        {"lead": [2], "queries": 3, "keys": 3, "width": 3, "values": 3, "masked": m, "whole": [True] * 3}
        for m in (False, True)
    ],
)
def attention(lib: Any, o: Options, rng: Rng) -> Case:
    lead, queries, keys = tuple(o["lead"]), o["queries"], o["keys"]
    scores = (*lead, queries, keys)
    mask = random_mask(rng, broadcast(scores, o["whole"])) if o["masked"] else None

    def torch_side(inputs: dict[str, Any], _: dict[str, Any]) -> dict[str, Any]:
        allowed = None if mask is None else torch.tensor(mask)
        q, k, v = inputs.values()
        return {"y": nn.functional.scaled_dot_product_attention(q, k, v, allowed)}

    def keras_side(inputs: dict[str, Any], _: dict[str, Any]) -> dict[str, Any]:
        # Keras: (batch, length, heads, width) and a mask (batch, heads, queries, keys)
        given = [tf.reshape(x, (-1, x.shape[-2], 1, x.shape[-1])) for x in inputs.values()]
        allowed = None
        if mask is not None:
            allowed = tf.reshape(tf.broadcast_to(mask, scores), (-1, 1, queries, keys))
        # Keras's own scale is a float32.
        scale = tf.constant(o["width"] ** -0.5, tf.float64)
        y = keras.ops.dot_product_attention(*given, mask=allowed, scale=scale)
        return {"y": tf.reshape(y, (*lead, queries, y.shape[-1]))}

    return make_case(
        "ScaledDotProductAttention",
        lambda dtype: lib.ScaledDotProductAttention(),
        rng,
        {
            "query": rng.standard_normal((*lead, queries, o["width"])),
            "key": rng.standard_normal((*lead, keys, o["width"])),
            "value": rng.standard_normal((*lead, keys, o["values"])),
        },
        torch_side,
        keras_side,
        {} if mask is None else {"mask": mask},
    )


@entry(
    "MultiheadAttention",
    15,
    count=SIZES,
    queries=SIZES,
    keys=st.integers(2, 4),
    heads=st.integers(1, 3),
    per_head=st.sampled_from([1, 4, 2]),
    bias=st.booleans(),
    batch_first=st.booleans(),
    masked=st.booleans(),
    whole=st.lists(st.booleans(), min_size=3, max_size=3),
    always=[
        {
            "count": 2,
            "queries": 3,
            "keys": 3,
            "heads": 2,
            "per_head": 4,
            "bias": True,
            "batch_first": both,
            "masked": both,
            "whole": [True] * 3,
        }
        for both in (False, True)
    ],
)
def multihead_attention(lib: Any, o: Options, rng: Rng) -> Case:
    count, queries, keys, heads = o["count"], o["queries"], o["keys"], o["heads"]
    embed, batch_first = heads * o["per_head"], o["batch_first"]
    scores = (count, heads, queries, keys)
    mask = random_mask(rng, broadcast(scores, o["whole"])) if o["masked"] else None

    def whole(length: int) -> Any:
        lead = (count, length) if batch_first else (length, count)
        return rng.standard_normal((*lead, embed))

    blocked = None  # torch's mask says where a query may not look
    if mask is not None:
        blocked = ~torch.tensor(np.broadcast_to(mask, scores).reshape(-1, queries, keys))
    module = nn.MultiheadAttention(embed, heads, bias=o["bias"], batch_first=batch_first, dtype=torch.float64)

    def torch_side(inputs: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
        side = in_torch(module, attn_mask=blocked)
        y, weights = side(inputs, state)["y"]
        return {"y": y, "weights": weights}

    def keras_side(inputs: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
        layer = keras.layers.MultiHeadAttention(heads, o["per_head"], use_bias=o["bias"])
        given = [x if batch_first else tf.transpose(x, (1, 0, 2)) for x in inputs.values()]
        query, key, value = given
        layer.build(query.shape, value.shape, key.shape)
        allowed = None if mask is None else tf.constant(np.broadcast_to(mask, scores))
        y, weights = stateless(
            layer,
            multihead_weights(state, heads),
            query,
            value,
            key,
            attention_mask=allowed,
            return_attention_scores=True,
        )
        y = y if batch_first else tf.transpose(y, (1, 0, 2))
        return {"y": y, "weights": tf.reduce_mean(weights, 1)}

    lacking = ""
    if o["per_head"] not in (1, 4):
        lacking = "Keras's MultiHeadAttention rounds (E / heads)^-0.5 to float32: E / heads is 1 or 4"
    elif o["per_head"] == 1 and o["bias"] and heads > 1 and heads in (queries, keys):
        # keras.ops.add takes x (N, T, heads, 1) + (heads, 1) for a bias of axis 1 if T is heads.
        lacking = "Keras adds a bias (heads, 1) along the wrong axis where a length is also heads"
    return make_case(
        "MultiheadAttention",
        lambda dtype: lib.MultiheadAttention(
            embed, heads, bias=o["bias"], batch_first=batch_first, dtype=dtype
        ),
        rng,
        {"query": whole(queries), "key": whole(keys), "value": whole(keys)},
        torch_side,
        lacking or keras_side,
        {} if mask is None else {"mask": mask},
    )


def multihead_weights(state: dict[str, Any], heads: int) -> list[Any]:
    """Return the weights as Keras has them: (E, heads, E / heads), of the output the other way."""
    out = state["out_proj.weight"]
    embed = out.shape[0]
    matrices = tf.split(state["in_proj_weight"], 3)
    biases = tf.split(state["in_proj_bias"], 3) if "in_proj_bias" in state else None
    weights = []
    for n, matrix in enumerate(matrices):
        weights.append(tf.reshape(tf.transpose(matrix), (embed, heads, -1)))
        if biases is not None:
            weights.append(tf.reshape(biases[n], (heads, -1)))
    weights.append(tf.reshape(tf.transpose(out), (heads, -1, embed)))
    return [*weights, state["out_proj.bias"]] if biases is not None else weights
