"""The learning rate of every step."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from shared.training import schedule


def learning_rates(name: str, peak: float, total: int) -> np.ndarray:
    return schedule.learning_rates(name, peak, total, np.arange(total))


@given(st.integers(1, 500), st.floats(1e-5, 10.0))
def test_one_cycle_starts_low_peaks_once_and_ends_near_zero(steps: int, peak: float) -> None:
    rates = learning_rates("one_cycle", peak, steps)
    assert rates.shape == (steps,)
    assert (rates > 0).all()
    assert rates.max() <= peak * (1 + 1e-12)
    if steps >= 20:
        top = rates.argmax()
        assert rates[top] > 0.97 * peak
        assert (np.diff(rates[: top + 1]) > 0).all()
        assert (np.diff(rates[top:]) < 0).all()
        assert rates[-1] < peak / 1000


def test_one_cycle_equals_torchs() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    steps = 1000
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.5, total_steps=steps, final_div_factor=10_000 / 25
    )
    expected = []
    for _ in range(steps):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        cycle.step()
    np.testing.assert_allclose(learning_rates("one_cycle", 0.5, steps), expected, rtol=1e-9)


def test_constant_is_constant() -> None:
    np.testing.assert_array_equal(learning_rates("constant", 0.1, 7), np.full(7, 0.1))


def test_a_range_of_steps_has_the_same_rates() -> None:
    whole = learning_rates("one_cycle", 0.5, 100)
    part = schedule.learning_rates("one_cycle", 0.5, 100, np.arange(25, 60))
    np.testing.assert_array_equal(part, whole[25:60])
