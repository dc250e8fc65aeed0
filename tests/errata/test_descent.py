"""Gradient descent and the optimizers, as published and corrected."""

import numpy as np
import pytest

from shared.backprop import SGD, Adam, Array, Linear, MSELoss

START, MINIMUM = 5.0, -0.5  # of x^2 + x


def descend(rate: float, most: int, tolerance: float = 1e-6) -> tuple[float, int]:
    """Return where the second tutorial's stopping rule ends, and after how many steps."""
    x = START
    for count in range(most):
        step = -rate * (2 * x + 1)
        if abs(step) <= tolerance:
            return x, count
        x += step
    return x, most


def test_a_hundred_iterations_do_not_converge() -> None:
    published = [descend(rate, 100)[0] for rate in (0.1, 0.01, 0.001)]
    np.testing.assert_allclose(published, [-0.5, 0.2294, 4.0021], atol=5e-5)
    assert [descend(rate, 10**6)[1] for rate in (0.1, 0.01, 0.001)] == [63, 575, 4649]
    params = {"x": np.array([START])}
    optimizer = SGD(params, lr=0.001)
    for _ in range(6000):
        optimizer.step({"x": 2 * params["x"] + 1})
    assert params["x"][0] == pytest.approx(MINIMUM, abs=1e-4)


def test_a_tolerance_on_the_step_stops_too_early() -> None:
    assert descend(1e-8, 10**6) == (5.0, 0)
    slope = abs(2 * START + 1)
    assert slope == 11  # a tolerance on the gradient would continue
    where, _ = descend(0.001, 10**6)
    assert where - MINIMUM == pytest.approx(4.99e-4, rel=1e-3)
    where, _ = descend(0.1, 10**6)
    assert where - MINIMUM == pytest.approx(4.3e-6, rel=0.01)


def test_descent_modifies_its_start_array() -> None:
    def published(start: Array, rate: float) -> Array:
        x = start
        for _ in range(100):
            x += -rate * 2 * x
        return x

    def right(start: Array, rate: float) -> Array:
        x = start
        for _ in range(100):
            x = x - rate * 2 * x
        return x

    start = np.array([10.0])
    np.testing.assert_array_equal(published(start, 0.01), start)
    assert start[0] == pytest.approx(1.326, rel=1e-3)
    with pytest.raises(TypeError):
        published(np.array([10]), 0.01)
    start = np.array([10.0])
    assert right(start, 0.01)[0] == pytest.approx(1.326, rel=1e-3)
    assert start[0] == 10.0
    assert right(np.array([10]), 0.01)[0] == pytest.approx(1.326, rel=1e-3)


def test_velocity_is_lost_when_the_loop_variable_is_rebound() -> None:
    g, published, velocities = np.array([1.0]), [np.zeros(1)], [np.zeros(1)]
    for _ in range(10):
        for w, velocity in zip(published, velocities, strict=True):
            velocity = 0.9 * velocity + 0.01 * g
            w -= velocity
    assert velocities[0][0] == 0
    assert published[0][0] == pytest.approx(-0.1)  # ten steps of plain gradient descent

    params = {"w": np.zeros(1)}
    optimizer = SGD(params, lr=0.01, momentum=0.9)
    for _ in range(10):
        optimizer.step({"w": g})
    assert params["w"][0] == pytest.approx(-0.4138, abs=5e-5)


def test_moments_are_lost_when_the_loop_variable_is_rebound() -> None:
    g, w, moments, lr = np.array([0.01]), np.zeros(1), [(np.zeros(1), np.zeros(1))], 1e-3
    published = []
    for t in range(1, 10_001):
        for m, v in moments:
            m = 0.9 * m + 0.1 * g
            v = 0.999 * v + 0.001 * g * g
            step = lr * m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
            w = w - step
            published.append(float(step[0]) / lr)
    assert float(moments[0][0][0]) == float(moments[0][1][0]) == 0
    steps = [published[t - 1] for t in (1, 10, 10_000)]
    assert steps == pytest.approx([1, 0.484, 3.162], rel=1e-3)

    params = {"w": np.zeros(1)}
    optimizer = Adam(params, lr=lr)
    for _ in range(100):
        optimizer.step({"w": g})
    assert params["w"][0] == pytest.approx(-100 * lr, rel=1e-5)  # a constant gradient moves lr per step


def test_lost_moments_change_the_direction() -> None:
    gradients = np.where(np.arange(1000) % 2 == 0, 1.0, -0.9)  # noise around 0.05
    w = 0.0
    for t, g in enumerate(gradients, 1):
        w -= 1e-3 * (0.1 * g / (1 - 0.9**t)) / (np.sqrt(0.001 * g * g / (1 - 0.999**t)) + 1e-8)
    params = {"w": np.zeros(1)}
    optimizer = Adam(params, lr=1e-3)
    for g in gradients:
        optimizer.step({"w": np.array([g])})
    assert params["w"][0] == pytest.approx(-0.0542, abs=5e-5)
    assert w == pytest.approx(0.00066, abs=5e-6)


def test_the_argument_called_error_is_the_target() -> None:
    def published(error: float, output: float, x: Array) -> Array:
        return 2 * (output - error) * x

    output, target, x = 0.7, 0.5, np.array([1.0, 2, 3])
    assert output - target == pytest.approx(0.2)
    layer, loss = Linear(3, 1, False, dtype=np.float64), MSELoss()
    layer.params["weight"][...] = output / x.sum()
    loss.forward(layer.forward(x[None]), np.array([[target]]))
    layer.backward(loss.backward())
    right = layer.grads["weight"][0]
    np.testing.assert_allclose(right, 0.4 * x)
    np.testing.assert_allclose(published(target, output, x), right)
    np.testing.assert_allclose(published(output - target, output, x), 2.5 * right)
