"""Gradients through many layers or steps, as published and corrected."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from shared.backprop import RNN, Array, Linear, ReLU, Sequential, Sigmoid

POINTS = np.linspace(-5, 5, 100)


def powers_by_dot(values: Array, depth: int) -> Array:
    result = values
    for _ in range(depth - 1):
        result = np.dot(result, values)
    return result


def test_a_dot_product_leaves_one_number() -> None:
    wrong_slope, step = POINTS * (1 - POINTS), (POINTS > 0).astype(int)
    of_sigmoid, of_relu = powers_by_dot(wrong_slope, 10), powers_by_dot(step, 10)
    assert np.shape(of_sigmoid) == np.shape(of_relu) == ()
    assert of_sigmoid == pytest.approx(5.112e20, rel=1e-3)
    assert of_relu == 312500000
    with pytest.raises(ValueError, match="same first dimension"):
        Figure().subplots().plot(POINTS, of_sigmoid)
    assert powers_by_dot(step, 9).shape == (100,)  # an odd depth gives a curve of the wrong size
    assert powers_by_dot(step, 9).max() == 6250000

    curves = []
    for layer in (Sigmoid(), ReLU()):
        curve = np.ones(100)
        layer.forward(POINTS)
        for _ in range(10):
            curve = layer.backward(curve)
        curves.append(curve)
    assert curves[0].shape == curves[1].shape == (100,)
    assert curves[0].max() == pytest.approx(9.48e-7, rel=1e-3)
    assert curves[1].max() == 1


def test_inputs_instead_of_activations() -> None:
    published = POINTS * (1 - POINTS)
    assert published.min() == -30
    assert published.max() == pytest.approx(0.2479, abs=5e-5)
    layer = Sigmoid()
    layer.forward(POINTS)
    right = layer.backward(np.ones(100))
    assert right.min() == pytest.approx(0.00665, abs=5e-6)
    assert right.max() == pytest.approx(0.24984, abs=5e-6)


def test_random_numbers_are_not_gradients() -> None:
    def published(seed: int) -> list[float]:
        rng = np.random.default_rng(seed)
        x, sizes = rng.normal(size=(1, 10)), []
        for _ in range(10):
            x = 1 / (1 + np.exp(-x))
            sizes.append(float(np.abs(rng.normal(size=(10, 10)) * x * (1 - x)).mean()))
        return sizes

    def right(seed: int) -> list[float]:
        rng = np.random.default_rng(seed)
        layers = [Linear(10, 10, False, dtype=np.float64) for _ in range(10)]
        for layer in layers:
            layer.params["weight"][...] = rng.normal(size=(10, 10))
        network = Sequential(*(part for layer in layers for part in (layer, Sigmoid())))
        out = network.forward(rng.normal(size=(1, 10)))
        network.backward(np.ones_like(out))
        return [float(np.abs(layer.grads["weight"]).mean()) for layer in layers]

    printed = np.mean([published(seed) for seed in range(100)], axis=0)
    np.testing.assert_allclose(printed[1:], 0.18, atol=0.01)  # the same at every depth
    shrunk = np.median([np.array(sizes)[0] / sizes[-1] for sizes in map(right, range(20))])
    assert shrunk < 0.005


def back_through_time(size: int, steps: int, normal: bool) -> tuple[float, float]:
    """Return the factor by which the steps scale a gradient, and the largest state."""
    rng = np.random.default_rng(0)
    layer = RNN(size, size, dtype=np.float64, rng=rng)
    if normal:
        for value in layer.params.values():
            value[...] = rng.normal(size=value.shape)
    output, _ = layer.forward(np.zeros((steps, 1, size)))
    last = rng.normal(size=(1, 1, size))
    layer.backward(np.zeros_like(output), last)
    return float(np.linalg.norm(layer.dhx) / np.linalg.norm(last)), float(np.abs(output).max())


def test_standard_normal_weights_explode_with_the_size() -> None:
    growth = [back_through_time(size, 20, normal=True) for size in (16, 64, 256)]
    gradients = [gradient for gradient, _ in growth]
    assert gradients[0] < gradients[1] / 100 < gradients[2] / 1e4
    assert gradients[1] > 1e4
    assert gradients[2] > 1e8
    assert all(state <= 1 for _, state in growth)  # tanh bounds the state itself
    assert all(back_through_time(size, 20, normal=False)[0] < 0.01 for size in (16, 64, 256))


def test_printed_gradients_belong_to_no_network() -> None:
    """The slide's second function, the only one called: another "gradient" each time, for the same input."""
    x = np.full((1, 10), 0.5)
    rng = np.random.default_rng(0)

    def published() -> float:
        slope = 1 / (1 + np.exp(-x))
        return float(np.abs(rng.standard_normal((10, 10)) * slope * (1 - slope)).mean())

    assert abs(published() - published()) > 0.001
    network = Sequential(*(layer for _ in range(10) for layer in (Linear(10, 10, rng=rng), Sigmoid())))
    gradients = []
    for _ in range(2):
        network.forward(x.astype(np.float32))
        gradients.append(network.backward(np.ones((1, 10), np.float32)))
    np.testing.assert_array_equal(*gradients)
