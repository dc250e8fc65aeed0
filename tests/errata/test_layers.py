"""Layers and penalties, as published and corrected."""

import timeit
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from shared.backprop import Array, BatchNorm1d, Conv2d, Dropout, ScaledDotProductAttention, l2_penalty


def test_a_penalty_divided_by_the_number_of_matrices() -> None:
    def published(weights: list[Array], strength: float) -> float:
        return strength * sum(float((w * w).sum()) for w in weights) / (2 * len(weights))

    weights = [np.ones((3, 2)), np.ones((2, 2))]
    assert published(weights, 0.1) == pytest.approx(0.25)
    assert published([*weights, np.zeros((1, 1)), np.zeros((1, 1))], 0.1) == pytest.approx(0.125)
    named = {str(number): w for number, w in enumerate(weights)}
    assert l2_penalty(named, 0.1)[0] == pytest.approx(0.5)
    more = {**named, "2": np.zeros((1, 1)), "3": np.zeros((1, 1))}
    assert l2_penalty(more, 0.1)[0] == pytest.approx(0.5)


def test_dropout_without_a_mode() -> None:
    rng, x = np.random.default_rng(0), np.ones(1000)

    def published(x: Array, keep: float) -> Array:
        return x * (rng.random(x.shape) < keep) / keep

    first, second = published(x, 0.5), published(x, 0.5)
    assert (first != second).mean() == pytest.approx(0.5, abs=0.05)
    np.testing.assert_array_equal(published(x, 1.0), x)  # the only way to switch it off
    layer = Dropout(0.5, rng=rng)
    assert (layer.forward(x) == 0).any()
    layer.eval()
    np.testing.assert_array_equal(layer.forward(x), x)


def test_batch_normalization_without_running_statistics() -> None:
    def published(x: Array) -> Array:
        return (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-5)

    batch = np.array([[1.0, 2], [3, 4], [5, 6]])
    np.testing.assert_array_equal(published(batch[:1]), 0)  # a single example loses all information
    np.testing.assert_array_equal(published(batch[2:]), 0)
    assert published(batch)[0, 0] == pytest.approx(-1.2247, abs=5e-5)
    assert published(batch[:2])[0, 0] == pytest.approx(-1, abs=1e-4)  # depends on the other examples

    layer, reference = BatchNorm1d(2, dtype=np.float64), nn.BatchNorm1d(2, dtype=torch.float64)
    x = torch.tensor(batch, requires_grad=True)
    for _ in range(100):
        layer.forward(batch)
        out = reference(x)
    weights = np.arange(6.0).reshape(3, 2) ** 2
    (out * torch.tensor(weights)).sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(layer.backward(weights), x.grad.numpy(), atol=1e-12)
    alone = [layer.eval().forward(batch[row : row + 1])[0] for row in range(3)]
    np.testing.assert_array_equal(alone, layer.forward(batch))
    assert alone[0][0] == pytest.approx(-0.99997, abs=5e-6)


def loops(x: Array, w: Array, stride: int = 1, padding: int = 0) -> Array:
    """The output size includes the padding, but the input is not padded."""
    (kh, kw), (h, width) = w.shape[2:], x.shape[2:]
    rows, columns = (h + 2 * padding - kh) // stride + 1, (width + 2 * padding - kw) // stride + 1
    y = np.zeros((len(x), len(w), rows, columns))
    for n, o, i, j in np.ndindex(*y.shape):
        top, left = i * stride, j * stride
        y[n, o, i, j] = np.sum(x[n, :, top : top + kh, left : left + kw] * w[o])
    return y


def correct(x: Array, w: Array, stride: int = 1, padding: int = 0) -> Array:
    layer = Conv2d(x.shape[1], len(w), w.shape[2:], stride, padding, bias=False, dtype=np.float64)
    layer.params["weight"][...] = w
    return layer.forward(x)


def test_padding_is_counted_but_not_applied() -> None:
    x, w = np.arange(16.0).reshape(1, 1, 4, 4), np.ones((1, 1, 3, 3))
    with pytest.raises(ValueError, match="broadcast"):
        loops(x, w, padding=1)
    expected = F.conv2d(torch.tensor(x), torch.tensor(w), padding=1).numpy()
    np.testing.assert_array_equal(correct(x, w, padding=1), expected)


def test_missing_padding_gives_a_wrong_number_without_an_error() -> None:
    x, w = np.arange(1.0, 10).reshape(1, 1, 3, 3), np.ones((1, 1, 2, 2))
    np.testing.assert_array_equal(loops(x, w, 2, 1)[0, 0], [[12, 18], [30, 36]])
    np.testing.assert_array_equal(correct(x, w, 2, 1)[0, 0], [[1, 5], [11, 28]])
    expected = F.conv2d(torch.tensor(x), torch.tensor(w), stride=2, padding=1).numpy()
    np.testing.assert_array_equal(correct(x, w, 2, 1), expected)


def test_nested_loops_take_seconds_for_a_batch() -> None:
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(1, 1, 28, 28)), rng.normal(size=(32, 1, 3, 3))
    times = [min(timeit.repeat(partial(f, x, w), number=1, repeat=3)) for f in (loops, correct)]
    np.testing.assert_allclose(loops(x, w), correct(x, w), rtol=1e-9, atol=1e-12)
    assert 64 * times[0] > 1  # seconds for 64 images
    assert times[0] > 50 * times[1]


def test_a_kernel_with_too_few_channels_goes_unnoticed() -> None:
    x, w = np.ones((1, 3, 3, 3)), np.ones((1, 1, 3, 3))
    assert loops(x, w).item() == 27  # the kernel was applied to all three channels
    with pytest.raises(ValueError, match=r"channels|shape"):
        Conv2d(1, 1, 3, dtype=np.float64).forward(x)
    with pytest.raises(RuntimeError, match="channels"):
        F.conv2d(torch.tensor(x), torch.tensor(w))


def test_attention_without_a_mask_reads_the_padding() -> None:
    rng = np.random.default_rng(0)
    q, k, v = (rng.normal(size=(1, 4, 8)) for _ in range(3))

    def published(q: Array, k: Array, v: Array) -> tuple[Array, Array]:
        scores = np.exp(q @ k.swapaxes(1, 2) / np.sqrt(k.shape[-1]))
        weights = scores / scores.sum(-1, keepdims=True)
        return weights @ v, weights

    padded_k, padded_v = (np.concatenate([part, np.zeros((1, 12, 8))], 1) for part in (k, v))
    alone, _ = published(q, k, v)
    _, weights = published(q, padded_k, padded_v)
    assert weights[..., 4:].sum(-1).mean() == pytest.approx(0.7, abs=0.2)

    layer, mask = ScaledDotProductAttention(), np.arange(16) < 4
    ours = layer.forward(q, padded_k, padded_v, mask[None, None])
    np.testing.assert_allclose(ours, alone, rtol=1e-12)
    tensors = [torch.tensor(part) for part in (q, padded_k, padded_v)]
    reference = F.scaled_dot_product_attention(
        tensors[0], tensors[1], tensors[2], torch.tensor(mask).expand(4, 16)
    )
    np.testing.assert_allclose(alone, reference.numpy(), rtol=1e-9)


@pytest.mark.filterwarnings("error")
def test_channel_dropout_on_flat_features_is_ordinary_dropout() -> None:
    x = torch.ones(1000, 128)
    torch.manual_seed(0)
    with pytest.warns(UserWarning, match="2-D input"):
        published = nn.Dropout2d(0.5)(x)
    torch.manual_seed(0)
    right = nn.Dropout(0.5)(x)
    assert torch.equal(published, right)
    flat = x[:, None, :]  # a single channel of 128 numbers
    with pytest.warns(UserWarning, match="3D input|3-D input"):
        assert nn.Dropout2d(0.5)(flat).shape == flat.shape
