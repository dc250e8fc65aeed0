"""Recurrent layers and attention."""

from functools import partial
from typing import Annotated, Any

import keras
import numpy as np
import tensorflow as tf
import torch
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tools.gradcheck.comparison import Case, Side, state_argument
from tools.gradcheck.entries import Rng, entry, in_torch, stateless

UP_TO_3 = st.integers(1, 3)
Size = Annotated[int, UP_TO_3]
UpTo4 = Annotated[int, st.integers(1, 4)]
# Which of three leading axes of a mask are whole; the others have size 1.
Whole = Annotated[list[bool], st.lists(st.booleans(), min_size=3, max_size=3)]

# Recurrent layers


def recurrent(
    name: str,
    lib: Any,
    rng: Rng,
    steps: UpTo4,
    count: Size,
    inputs: Size,
    hidden: Size,
    bias: bool,
    batch_first: bool,
    initial: bool,
    padded: bool,
    kind: str = "",  # of the two layers of Bidirectional
) -> Case:
    kind, directions = (kind, 2) if name == "Bidirectional" else (name, 1)
    lengths = rng.permutation(rng.integers(1, steps + 1, count)) if padded else None
    lead = (count, steps) if batch_first else (steps, count)
    values = {"x": rng.standard_normal((*lead, inputs))}
    if initial:
        states = ("h0", "c0") if kind == "LSTM" else ("h0",)
        values |= {key: rng.standard_normal((directions, count, hidden)) for key in states}
    options = {"bias": bias, "batch_first": batch_first}
    sizes = (inputs, hidden) if directions == 1 else (getattr(lib, kind), inputs, hidden)
    module = getattr(nn, kind)(inputs, hidden, **options, bidirectional=directions == 2, dtype=torch.float64)
    return Case(
        lambda dtype: getattr(lib, name)(*sizes, **options, dtype=dtype),
        values,
        recurrent_in_torch(module, steps, lengths),
        recurrent_in_keras(kind, directions, hidden, bias, batch_first, steps, lengths),
        {} if lengths is None else {"lengths": lengths},
        note="" if kind == "GRU" else "Keras has one bias, the sum of torch's two",
    )


def recurrent_in_torch(module: Any, steps: int, lengths: Any) -> Side:
    """Return a side in torch; a packed sequence says where each example ends."""

    def side(inputs: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
        x, *given = inputs.values()
        hx = state_argument(given) if given else None
        if lengths is not None:
            x = pack_padded_sequence(x, torch.tensor(lengths), module.batch_first, False)
        y, last = torch.func.functional_call(module, state, (x, hx), strict=True)
        if lengths is not None:
            y, _ = pad_packed_sequence(y, module.batch_first, total_length=steps)
        last = last if isinstance(last, tuple) else (last,)
        return {"y": y, **dict(zip(("h_n", "c_n"), last, strict=False))}

    return side


def recurrent_in_keras(
    name: str, directions: int, hidden: int, bias: bool, batch_first: bool, steps: int, lengths: Any
) -> Side:
    """Return a side in Keras, which takes (N, T, C) and a mask instead of lengths."""
    kind = {"RNN": keras.layers.SimpleRNN, "LSTM": keras.layers.LSTM, "GRU": keras.layers.GRU}[name]
    mask = None if lengths is None else tf.constant(np.arange(steps) < lengths[:, None])
    options = {"return_sequences": True, "return_state": True, "zero_output_for_mask": True}
    # Unrolled, Keras's reverse direction gets zeros where the mask is False from the other end.
    options["unroll"] = directions == 1

    def side(inputs: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
        x, *given = inputs.values()
        x = x if batch_first else tf.transpose(x, (1, 0, 2))
        layer = kind(hidden, use_bias=bias, **options)
        layer = layer if directions == 1 else keras.layers.Bidirectional(layer)
        layer.build(x.shape)
        initial = [one[number] for number in range(directions) for one in given] or None
        y, *last = stateless(layer, state, x, initial_state=initial, mask=mask)
        y = y if batch_first else tf.transpose(y, (1, 0, 2))
        kinds = len(last) // directions  # h, or h and c
        states = [tf.stack(last[number::kinds]) for number in range(kinds)]
        return {"y": y, **dict(zip(("h_n", "c_n"), states, strict=False))}

    return side


ALWAYS: list[dict[str, Any]] = [
    {"steps": 4, "count": 3, "inputs": 2, "hidden": 2, "bias": True, "initial": True}
    | {"batch_first": both, "padded": both}
    for both in (False, True)
]
for _name, _examples in [("RNN", 12), ("LSTM", 14), ("GRU", 14)]:
    entry(_name, _examples, ALWAYS)(partial(recurrent, _name))
entry(
    "Bidirectional",
    8,
    [case | {"kind": kind} for case in ALWAYS for kind in ("LSTM", "GRU")],
    kind=st.sampled_from(["RNN", "LSTM", "GRU"]),
)(partial(recurrent, "Bidirectional"))


# Attention


def random_mask(rng: Rng, shape: tuple[int, ...], whole: list[bool]) -> Any:
    """Return a mask with a True in every row, whose axes have size 1 where `whole` is False."""
    mask = (
        rng.random((*(n if all_ else 1 for n, all_ in zip(shape[:-1], whole, strict=False)), shape[-1])) < 0.6
    )
    mask[..., 0] |= ~mask.any(axis=-1)
    return mask


@entry(
    "ScaledDotProductAttention",
    always=[
        {"lead": [2], "queries": 3, "keys": 3, "width": 3, "values": 3, "masked": masked, "whole": [True] * 3}
        for masked in (False, True)
    ],
)
def attention(
    lib: Any,
    rng: Rng,
    lead: Annotated[list[int], st.lists(UP_TO_3, max_size=2)],
    queries: Size,
    keys: UpTo4,
    width: Size,
    values: Size,
    masked: bool,
    whole: Whole,
) -> Case:
    scores = (*lead, queries, keys)
    mask = random_mask(rng, scores, whole) if masked else None

    def torch_side(inputs: dict[str, Any], _: dict[str, Any]) -> dict[str, Any]:
        allowed = None if mask is None else torch.tensor(mask)
        query, key, value = inputs.values()
        return {"y": nn.functional.scaled_dot_product_attention(query, key, value, allowed)}

    def keras_side(inputs: dict[str, Any], _: dict[str, Any]) -> dict[str, Any]:
        # Keras takes (batch, length, heads, width) and a mask (batch, heads, queries, keys).
        given = [tf.reshape(x, (-1, x.shape[-2], 1, x.shape[-1])) for x in inputs.values()]
        allowed = None
        if mask is not None:
            allowed = tf.reshape(tf.broadcast_to(mask, scores), (-1, 1, queries, keys))
        scale = tf.constant(width**-0.5, tf.float64)  # Keras's own scale is float32
        y = keras.ops.dot_product_attention(*given, mask=allowed, scale=scale)
        return {"y": tf.reshape(y, (*lead, queries, values))}

    return Case(
        lambda dtype: lib.ScaledDotProductAttention(),
        {
            "query": rng.standard_normal((*lead, queries, width)),
            "key": rng.standard_normal((*lead, keys, width)),
            "value": rng.standard_normal((*lead, keys, values)),
        },
        torch_side,
        keras_side,
        {} if mask is None else {"mask": mask},
    )


@entry(
    "MultiheadAttention",
    always=[
        {"count": 2, "queries": 3, "keys": 3, "heads": 2, "per_head": 4, "bias": True, "whole": [True] * 3}
        | {"batch_first": both, "masked": both}
        for both in (False, True)
    ],
)
def multihead_attention(
    lib: Any,
    rng: Rng,
    count: Size,
    queries: Size,
    keys: Annotated[int, st.integers(2, 4)],
    heads: Size,
    per_head: Annotated[int, st.sampled_from([1, 4, 2])],
    bias: bool,
    batch_first: bool,
    masked: bool,
    whole: Whole,
) -> Case:
    embed = heads * per_head
    scores = (count, heads, queries, keys)
    mask = random_mask(rng, scores, whole) if masked else None
    options = {"bias": bias, "batch_first": batch_first}
    blocked = None  # in torch's mask, True blocks
    if mask is not None:
        blocked = ~torch.tensor(np.broadcast_to(mask, scores).reshape(-1, queries, keys))
    in_module = in_torch(
        nn.MultiheadAttention(embed, heads, **options, dtype=torch.float64), attn_mask=blocked
    )

    def torch_side(inputs: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
        return dict(zip(("y", "weights"), in_module(inputs, state)["y"], strict=True))

    def keras_side(inputs: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
        layer = keras.layers.MultiHeadAttention(heads, per_head, use_bias=bias)
        query, key, value = (x if batch_first else tf.transpose(x, (1, 0, 2)) for x in inputs.values())
        layer.build(query.shape, value.shape, key.shape)
        allowed = None if mask is None else tf.constant(np.broadcast_to(mask, scores))
        mixed = {"attention_mask": allowed, "return_attention_scores": True}
        y, weights = stateless(layer, state, query, value, key, **mixed)
        y = y if batch_first else tf.transpose(y, (1, 0, 2))
        return {"y": y, "weights": tf.reduce_mean(weights, 1)}

    lacking = ""
    if per_head == 2:
        lacking = "Keras's MultiHeadAttention rounds (E / heads)^-0.5 to float32, so E / heads is 1 or 4"
    elif per_head == 1 and bias and heads > 1 and heads in (queries, keys):
        # If T = heads, keras.ops.add adds (heads, 1) to x (N, T, heads, 1) along axis 1.
        lacking = "Keras adds a bias (heads, 1) along the wrong axis if a length is also heads"

    def draw(length: int) -> Any:
        return rng.standard_normal((count, length, embed) if batch_first else (length, count, embed))

    return Case(
        lambda dtype: lib.MultiheadAttention(embed, heads, **options, dtype=dtype),
        {"query": draw(queries), "key": draw(keys), "value": draw(keys)},
        torch_side,
        lacking or keras_side,
        {} if mask is None else {"mask": mask},
    )
