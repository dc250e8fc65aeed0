"""Losses and the sigmoid at their limits, as published and corrected."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from shared.backprop import Array, BCEWithLogitsLoss, CrossEntropyLoss, Sigmoid


def logistic(z: Array) -> Array:
    return 1 / (1 + np.exp(-z))


def entropy(p: Array, y: Array, shift: float = 0.0) -> float:
    return -float(np.mean(y * np.log(p + shift) + (1 - y) * np.log(1 - p + shift)))


def right(z: float, y: float) -> float:
    return float(BCEWithLogitsLoss().forward(np.array([z]), np.array([y])))


def test_cross_entropy_of_probabilities_is_nan_at_zero_and_one() -> None:
    zero, one = np.zeros(1), np.ones(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        assert np.isnan(entropy(one, one))
        assert np.isnan(entropy(zero, zero))
        assert entropy(zero, one) == np.inf
    for z, y in ((1000.0, 1.0), (-1000.0, 0.0)):
        assert right(z, y) == 0
    assert right(-1000.0, 1.0) == 1000


def test_an_epsilon_shifts_the_loss() -> None:
    one, zero = np.ones(1), np.zeros(1)
    assert entropy(one, one, 1e-15) == pytest.approx(-1.1e-15, rel=0.02)  # below zero
    for z in (40.0, 100.0):
        wrong = entropy(logistic(np.array([z])), zero, 1e-15)
        assert wrong == pytest.approx(34.54, abs=0.005)
        assert right(z, 0.0) == pytest.approx(z, rel=1e-12)


@pytest.mark.filterwarnings("error")
def test_the_sigmoid_overflows_but_its_value_is_right() -> None:
    for z in (np.array([-1000.0]), np.array([-100.0], np.float32)):
        with pytest.warns(RuntimeWarning, match="overflow"):
            assert logistic(z) == 0
        assert Sigmoid().forward(z) < 1e-43
    assert logistic(np.array([-709.0])) == pytest.approx(1.2e-308, rel=0.02)


def test_labels_one_and_two_make_the_loss_unbounded() -> None:
    z = torch.tensor([10.0, 100, 1000], dtype=torch.float64)
    wrong = F.binary_cross_entropy_with_logits(z, torch.full_like(z, 2), reduction="none")
    np.testing.assert_allclose(wrong.numpy(), [-10, -100, -1000], rtol=1e-5)
    of_one = F.binary_cross_entropy_with_logits(z, torch.ones_like(z), reduction="none")
    assert of_one.max() < 1e-4  # the other class does not pull the logit back
    logit = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([logit], lr=1.0)
    for label in (1.0, 2.0) * 500:
        optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(logit, torch.tensor([label])).backward()
        optimizer.step()
    assert logit.item() > 500  # positive, whatever the review says
    right = F.binary_cross_entropy_with_logits(z, torch.full_like(z, 2) - 1, reduction="none")
    assert right.min() >= 0


def test_word_labels_cannot_be_converted() -> None:
    with pytest.raises(ValueError, match="could not convert"):
        float("pos")
    assert [float(word == "pos") for word in ("neg", "pos")] == [0.0, 1.0]


def test_log_softmax_twice_is_log_softmax_once() -> None:
    logits = torch.randn(6, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels, gradients, losses = torch.arange(6), [], []
    for output in (lambda z: F.log_softmax(z, 1), lambda z: z):
        z = logits.clone().requires_grad_()
        loss = F.cross_entropy(output(z), labels)
        loss.backward()
        assert z.grad is not None
        losses.append(loss.item())
        gradients.append(z.grad.numpy())
    ours = CrossEntropyLoss()
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)
    assert losses[0] == pytest.approx(float(ours.forward(logits.numpy(), labels.numpy())), rel=1e-9)
    np.testing.assert_allclose(gradients[0], gradients[1], atol=1e-15)
    np.testing.assert_allclose(gradients[0], ours.backward(), atol=1e-15)
