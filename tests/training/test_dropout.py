"""ByteDropout of both frameworks against the definition of dropout."""

from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf
import torch
from numpy.typing import NDArray

from shared.training import keras_dropout, torch_dropout

Array = NDArray[np.float64]
Drop = Callable[..., Array]
SIGMAS = 5  # how far a mean may lie from its expectation: once in two million


def drop_in_torch(x: Array, p: float, seed: int = 0, training: bool = True) -> Array:
    torch.manual_seed(seed)
    return torch_dropout.ByteDropout(p).train(training)(torch.from_numpy(x)).numpy()


def drop_in_keras(x: Array, p: float, seed: int = 0, training: bool = True) -> Array:
    keras.utils.set_random_seed(seed)
    layer = keras_dropout.ByteDropout(p, dtype="float64")
    return np.asarray(tf.function(layer)(tf.constant(x), training=training))


@pytest.fixture(params=[drop_in_torch, drop_in_keras], ids=["torch", "keras"])
def drop(request: pytest.FixtureRequest) -> Drop:
    return request.param


@pytest.mark.parametrize("p", [0.25, 0.5, 0.1, 0.9, 0.999])
def test_the_fraction_of_zeros_and_the_mean_are_right(p: float, drop: Drop) -> None:
    count = 1_000_000
    dropped = drop(np.ones(count), p)
    exact = round(p * 256) / 256 if p < 0.998 else 255 / 256
    spread = (exact * (1 - exact) / count) ** 0.5
    assert (dropped == 0).mean() == pytest.approx(exact, abs=SIGMAS * spread)
    assert dropped.mean() == pytest.approx(1, abs=SIGMAS * spread / (1 - exact))
    assert np.unique(dropped) == pytest.approx([0, 1 / (1 - exact)])


def test_every_byte_of_a_word_is_random(drop: Drop) -> None:
    zeros = (drop(np.ones(800_000), 0.5) == 0).reshape(-1, 8).mean(axis=0)
    assert (np.abs(zeros - 0.5) < SIGMAS * 0.5 / 100_000**0.5).all()


def test_neighbors_are_independent(drop: Drop) -> None:
    signs = 2.0 * (drop(np.ones(1_000_001), 0.5) == 0) - 1
    for distance in (1, 7, 8, 9, 64):
        assert abs((signs[:-distance] * signs[distance:]).mean()) < SIGMAS / 1000


@pytest.mark.parametrize("shape", [(1,), (3, 5), (2, 3, 4, 5), (0, 3)])
def test_the_shape_is_kept_and_the_other_values_are_scaled(shape: tuple[int, ...], drop: Drop) -> None:
    x = np.random.default_rng(0).normal(size=shape)
    dropped = drop(x, 0.5)
    np.testing.assert_array_equal(dropped, np.where(dropped == 0, 0, 2 * x))
    assert dropped.shape == shape


def test_evaluation_and_p_0_change_nothing(drop: Drop) -> None:
    x = np.random.default_rng(0).normal(size=100)
    np.testing.assert_array_equal(drop(x, 0.5, training=False), x)
    np.testing.assert_array_equal(drop(x, 0.0), x)
    np.testing.assert_array_equal(drop(x, 0.001), x)  # rounds to 0 of 256


def test_the_seed_determines_the_mask(drop: Drop) -> None:
    x = np.ones(1000)
    np.testing.assert_array_equal(drop(x, 0.5, seed=0), drop(x, 0.5, seed=0))
    assert not np.array_equal(drop(x, 0.5, seed=0), drop(x, 0.5, seed=1))


def test_two_calls_drop_different_values() -> None:
    in_torch = torch_dropout.ByteDropout(0.5)
    assert not torch.equal(in_torch(torch.ones(1000)), in_torch(torch.ones(1000)))
    in_keras = tf.function(keras_dropout.ByteDropout(0.5))
    first, second = (np.asarray(in_keras(tf.ones(1000), training=True)) for _ in range(2))
    assert not np.array_equal(first, second)


def test_the_gradient_has_the_same_mask() -> None:
    upstream = np.random.default_rng(0).normal(size=100)
    x = torch.randn(100, dtype=torch.float64, requires_grad=True)
    y = torch_dropout.ByteDropout(0.5)(x)
    y.backward(torch.from_numpy(upstream))
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad, upstream * (y != 0).numpy() * 2)
    variable = tf.Variable(tf.random.normal([100], dtype=tf.float64))
    with tf.GradientTape() as tape:
        z = keras_dropout.ByteDropout(0.5, dtype="float64")(variable, training=True)
    gradient = tape.gradient(z, variable, output_gradients=upstream)
    np.testing.assert_array_equal(gradient, upstream * (np.asarray(z) != 0) * 2)


def test_the_dtype_is_kept() -> None:
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        assert torch_dropout.ByteDropout(0.5)(torch.ones(8, dtype=dtype)).dtype == dtype
    for name in ("float32", "float64", "bfloat16"):
        layer = keras_dropout.ByteDropout(0.5, dtype=name)
        assert layer(tf.ones(8, dtype=name), training=True).dtype == name
