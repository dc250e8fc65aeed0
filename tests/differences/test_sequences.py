"""Recurrent layers, attention and padded sequences in torch and Keras."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

from shared.backprop import ScaledDotProductAttention


def tensor(values: Any) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape)


# Recurrent layers


def lstm_pair(hidden: int = 2) -> tuple[Any, Any]:
    """Return an LSTM with 3 inputs in both frameworks, with the same weights."""
    module = nn.LSTM(3, hidden, batch_first=True).double()
    layer = keras.layers.LSTM(hidden, return_sequences=True, unroll=True)
    layer.build((1, 4, 3))
    w_ih, w_hh, b_ih, b_hh = (w.detach().numpy() for w in module.parameters())
    layer.set_weights([w_ih.T, w_hh.T, b_ih + b_hh])
    return module, layer


def test_an_lstm_has_the_same_gates_in_the_same_order() -> None:
    module, layer = lstm_pair()
    x = normal(1, 4, 3)
    expected = module(tensor(x))[0].detach().numpy()
    np.testing.assert_allclose(np.asarray(layer(x)), expected, rtol=1e-9)
    kernel, recurrent, bias = layer.get_weights()
    reordered = [np.roll(w, 2, axis=-1) for w in (kernel, recurrent, bias)]
    layer.set_weights(reordered)
    assert abs(np.asarray(layer(x)) - expected).max() > 1e-3


def test_a_step_moves_the_sum_of_two_biases_twice_as_far() -> None:
    module, layer = lstm_pair()
    x = normal(1, 4, 3)
    before = (module.bias_ih_l0 + module.bias_hh_l0).detach().clone()
    module(tensor(x))[0].sum().backward()
    torch.optim.SGD(module.parameters(), 0.1).step()
    moved = (module.bias_ih_l0 + module.bias_hh_l0).detach() - before
    bias = layer.trainable_variables[2]
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(tf.constant(x)))
    gradient = np.asarray(tape.gradient(loss, bias.value))
    assert module.bias_ih_l0.grad is not None
    np.testing.assert_allclose(module.bias_ih_l0.grad.numpy(), gradient, rtol=1e-9)
    np.testing.assert_allclose(moved.numpy(), 2 * -0.1 * gradient, rtol=1e-7)
    start = np.asarray(bias)
    keras.optimizers.SGD(0.1).apply([keras.ops.convert_to_tensor(gradient)], [bias])
    np.testing.assert_allclose(np.asarray(bias) - start, -0.1 * gradient, rtol=1e-6)


def test_initial_weights_of_an_lstm() -> None:
    """For 4 inputs and 100 units, torch's bound is 0.1 and Glorot's, for (4, 400), is 0.122."""
    layer = keras.layers.LSTM(100)
    layer.build((1, 2, 4))
    kernel, recurrent, bias = (np.asarray(w) for w in layer.get_weights())
    assert abs(kernel).max() == pytest.approx(0.122, rel=0.02)
    np.testing.assert_allclose(recurrent @ recurrent.T, np.eye(100), atol=1e-5)
    assert bias.reshape(4, 100).mean(axis=1).tolist() == [0, 1, 0, 0]
    module: Any = nn.LSTM(4, 100)
    for weight in module.parameters():
        assert weight.detach().abs().max().item() == pytest.approx(0.1, rel=0.02)
    sums = (module.bias_ih_l0 + module.bias_hh_l0).detach().reshape(4, 100).mean(dim=1)
    assert abs(sums).max() < 0.05  # the forget gate is no exception


def gru_pair(reset_after: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the outputs of a GRU in torch and in Keras, with the same weights."""
    module: Any = nn.GRU(3, 2, batch_first=True).double()
    with torch.no_grad():
        module.bias_hh_l0.zero_()
    layer = keras.layers.GRU(2, return_sequences=True, reset_after=reset_after, unroll=True)
    layer.build((1, 4, 3))
    weights = [w.detach().numpy() for w in module.parameters()]
    w_ih, w_hh, b_ih, b_hh = (np.concatenate([w[2:4], w[:2], w[4:]]) for w in weights)  # z, r, n
    biases = np.stack([b_ih, b_hh]) if reset_after else b_ih
    layer.set_weights([w_ih.T, w_hh.T, biases])
    x = normal(1, 4, 3)
    return module(tensor(x))[0].detach().numpy(), np.asarray(layer(x))


def test_a_gru_orders_its_gates_differently_and_resets_later() -> None:
    assert keras.layers.GRU(2).reset_after
    of_torch, of_keras = gru_pair(reset_after=True)
    np.testing.assert_allclose(of_keras, of_torch, rtol=1e-9)
    of_torch, of_keras = gru_pair(reset_after=False)
    np.testing.assert_allclose(of_keras[:, 0], of_torch[:, 0], rtol=1e-9)  # because the state is still 0
    assert abs(of_keras - of_torch).max() > 1e-3


def test_lstm_dropout_applies_in_different_places() -> None:
    """Dropout near 1 removes all inputs in Keras and has no effect on a single layer in torch."""
    x = normal(1, 4, 3)
    layer = keras.layers.LSTM(2, dropout=0.99, bias_initializer="zeros", unit_forget_bias=False)
    assert not np.asarray(layer(x, training=True)).any()
    assert np.asarray(layer(x, training=False)).all()
    with pytest.warns(UserWarning, match="dropout option adds dropout after all but last"):
        module = nn.LSTM(3, 2, batch_first=True, dropout=0.99).double()
    trained, evaluated = module(tensor(x))[0], module.eval()(tensor(x))[0]
    assert torch.equal(trained, evaluated)


# Padded sequences


def test_sequences_are_padded_at_opposite_ends() -> None:
    sequences = [[1, 2, 3], [4, 5]]
    padded = keras.utils.pad_sequences(sequences)
    assert padded.tolist() == [[1, 2, 3], [0, 4, 5]]
    assert keras.utils.pad_sequences(sequences, maxlen=2).tolist() == [[2, 3], [4, 5]]
    of_torch = pad_sequence([torch.tensor(s) for s in sequences], batch_first=True)
    assert of_torch.tolist() == [[1, 2, 3], [4, 5, 0]]
    again = keras.utils.pad_sequences(sequences, padding="post", truncating="post", maxlen=2)
    assert again.tolist() == [[1, 2], [4, 5]]


def test_an_lstm_without_a_mask_reads_the_padding() -> None:
    """2 steps, followed by 100 steps of zeros that the mask excludes."""
    module, layer = lstm_pair()
    plain = keras.layers.LSTM(2)
    plain.build((1, 102, 3))
    plain.set_weights(layer.get_weights())
    x = np.concatenate([normal(1, 2, 3), np.zeros((1, 100, 3))], axis=1)
    y, _ = module(tensor(x))
    wanted = y[0, 1].detach().numpy()
    other = normal(1, 102, 3)
    other[:, 2:] = 0
    other[:, :2] *= -1  # another sequence with the same padding
    end, other_end = (module(tensor(z))[0][0, -1].detach().numpy() for z in (x, other))
    assert abs(end - wanted).max() > 0.01
    assert abs(wanted - module(tensor(other))[0][0, 1].detach().numpy()).max() > 0.01
    np.testing.assert_allclose(end, other_end, rtol=1e-9)  # the sequence is forgotten
    np.testing.assert_allclose(np.asarray(plain(x))[0], end, rtol=1e-9)
    mask = np.arange(102)[None] < 2
    np.testing.assert_allclose(np.asarray(plain(x, mask=mask))[0], wanted, rtol=1e-9)
    packed = pack_padded_sequence(tensor(x), torch.tensor([2]), batch_first=True)
    np.testing.assert_allclose(module(packed)[1][0][0, 0].detach().numpy(), wanted, rtol=1e-9)


def test_outputs_of_masked_steps() -> None:
    """Of 4 steps, the mask keeps the first 2."""
    module, layer = lstm_pair()
    x, mask = normal(1, 4, 3), np.array([[True, True, False, False]])
    y = np.asarray(layer(x, mask=mask))[0]
    np.testing.assert_array_equal(y[2:], y[[1, 1]])
    zeroed = keras.layers.LSTM(2, return_sequences=True, zero_output_for_mask=True)
    zeroed.build((1, 4, 3))
    zeroed.set_weights(layer.get_weights())
    assert not np.asarray(zeroed(x, mask=mask))[0, 2:].any()
    packed = pack_padded_sequence(tensor(x), torch.tensor([2]), batch_first=True)
    of_torch = pad_packed_sequence(module(packed)[0], batch_first=True, total_length=4)[0][0]
    assert not of_torch[2:].any()
    np.testing.assert_allclose(y[:2], of_torch[:2].detach().numpy(), rtol=1e-9)


# Attention


def identity_attention(size: int) -> tuple[Any, Any]:
    """Return single-head attention with identity matrices in both frameworks."""
    module: Any = nn.MultiheadAttention(size, 1, bias=False, batch_first=True).double()
    with torch.no_grad():
        module.in_proj_weight.copy_(torch.eye(size).repeat(3, 1))
        module.out_proj.weight.copy_(torch.eye(size))
    layer = keras.layers.MultiHeadAttention(1, size, use_bias=False)
    layer.build((1, 3, size), (1, 3, size))
    eye = np.eye(size)
    layer.set_weights([eye.reshape(size, 1, size)] * 3 + [eye.reshape(1, size, size)])
    return module, layer


def test_true_in_a_mask_means_opposite_things() -> None:
    module, layer = identity_attention(4)
    x = normal(1, 3, 4)
    given = tensor(x)
    allowed = np.array([[True, False, True], [False, True, True], [True, True, False]])
    y = np.asarray(layer(x, x, attention_mask=allowed[None]))
    same = module(given, given, given, attn_mask=torch.tensor(~allowed))[0]
    opposite = module(given, given, given, attn_mask=torch.tensor(allowed))[0]
    function = F.scaled_dot_product_attention(given, given, given, torch.tensor(allowed))
    np.testing.assert_allclose(y, same.detach().numpy(), rtol=1e-7)
    np.testing.assert_allclose(y, function.numpy(), rtol=1e-7)
    assert abs(y - opposite.detach().numpy()).max() > 0.1


def test_a_fully_masked_row() -> None:
    """The second of three queries has no allowed key."""
    module, layer = identity_attention(4)
    x = normal(1, 3, 4)
    given = tensor(x)
    allowed = np.array([[True, True, False], [False] * 3, [True] * 3])
    blocked = torch.tensor(~allowed)
    with_weights, _ = module(given, given, given, attn_mask=blocked)
    without, _ = module(given, given, given, attn_mask=blocked, need_weights=False)
    function = F.scaled_dot_product_attention(given, given, given, torch.tensor(allowed))
    assert with_weights[0, 1].isnan().all()
    assert not without[0, 1].any()
    assert not function[0, 1].any()
    y = np.asarray(layer(x, x, attention_mask=allowed[None]))
    np.testing.assert_allclose(y[0, 1], x[0].mean(axis=0), rtol=1e-9)
    scored, _ = layer(x, x, attention_mask=allowed[None], return_attention_scores=True)
    assert not np.asarray(scored)[0, 1].any()
    with pytest.raises(ValueError, match="leaves a query no key"):
        ScaledDotProductAttention().forward(x[0], x[0], x[0], allowed)


def test_the_width_is_per_head_in_keras() -> None:
    """Given 8 and 2 heads, a head has width 8 in Keras and 4 in torch."""
    layer = keras.layers.MultiHeadAttention(2, 8)
    layer.build((1, 3, 8), (1, 3, 8))
    assert [tuple(w.shape) for w in layer.weights][:1] == [(8, 2, 8)]
    assert nn.MultiheadAttention(8, 2).head_dim == 4
    count = sum(w.numel() for w in nn.MultiheadAttention(8, 2).parameters())
    assert (layer.count_params(), count) == (568, 288)
    right = keras.layers.MultiHeadAttention(2, 4)
    right.build((1, 3, 8), (1, 3, 8))
    assert right.count_params() == 288


def test_keras_rounds_the_scale_of_attention() -> None:
    """The scale is not exact in float32 for width 2; for width 4 it is 1/2."""
    for size, low, high in [(2, 1e-10, 1e-8), (4, 0, 1e-15)]:
        module, layer = identity_attention(size)
        x = normal(1, 3, size)
        given = tensor(x)
        expected = module(given, given, given)[0].detach().numpy()
        assert low <= abs(np.asarray(layer(x, x)) - expected).max() <= high


def test_initial_weights_of_attention() -> None:
    """Width 64, 4 heads: the bounds are sqrt(6 / (64 + 64)) and sqrt(6 / (64 + 192))."""
    module, layer = nn.MultiheadAttention(64, 4), keras.layers.MultiHeadAttention(4, 16)
    layer.build((1, 3, 64), (1, 3, 64))
    query, _, _, _, _, _, output, _ = (np.asarray(w) for w in layer.get_weights())
    assert abs(query).max() == pytest.approx(0.217, rel=0.01)
    assert abs(output).max() == pytest.approx(0.217, rel=0.01)
    assert module.in_proj_weight.detach().abs().max().item() == pytest.approx(0.153, rel=0.01)
    assert module.out_proj.weight.detach().abs().max().item() == pytest.approx(0.125, rel=0.01)
    assert not module.in_proj_bias.detach().any()
    assert not module.out_proj.bias.detach().any()


def test_attention_of_width_one_is_wrong_in_keras() -> None:
    """The output of a query must not depend on the number of queries."""
    layer = keras.layers.MultiHeadAttention(3, 1)
    layer.build((1, 3, 4), (1, 6, 4))
    rng = np.random.default_rng(1)
    layer.set_weights([rng.normal(size=w.shape) for w in layer.get_weights()])
    queries, keys = rng.normal(size=(1, 5, 4)), rng.normal(size=(1, 6, 4))
    of_5, of_4, of_3 = (np.asarray(layer(queries[:, :n], keys))[0, :3] for n in (5, 4, 3))
    np.testing.assert_allclose(of_4, of_5, rtol=1e-9)
    assert abs(of_3 - of_5).max() > 0.01
