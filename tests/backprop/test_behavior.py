"""What tools.gradcheck does not check: extreme numbers, modes, state, initial values."""

from typing import Any

import numpy as np
import pytest
import torch

from shared import backprop as lib
from shared.backprop.activations import sigmoid

EXTREMES = np.array([[1e4, -1e4, 0.0], [-3e38, 3e38, 1.0], [710.0, -710.0, -745.0]])


def in_torch(module: torch.nn.Module, x: np.ndarray, *others: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return output and gradient, for the upstream gradient 1, 2, 3, ..."""
    leaf = torch.from_numpy(x).requires_grad_()
    y = module(leaf, *others)
    y.backward(torch.arange(1.0, y.numel() + 1, dtype=leaf.dtype).reshape(y.shape))
    assert leaf.grad is not None
    return y.detach().numpy(), leaf.grad.numpy()


@pytest.mark.parametrize("name", ["Softmax", "Sigmoid", "Tanh", "ReLU"])
def test_activations_of_extreme_numbers_match_torch(name: str) -> None:
    layer = getattr(lib, name)()
    module = torch.nn.Softmax(dim=-1) if name == "Softmax" else getattr(torch.nn, name)()
    with np.errstate(all="raise", under="ignore"):
        y = layer.forward(EXTREMES)
        dx = layer.backward(np.arange(1.0, 10.0).reshape(3, 3))
    expected, gradient = in_torch(module, EXTREMES)
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-300)
    np.testing.assert_allclose(dx, gradient, rtol=1e-12, atol=1e-300)


def test_the_sigmoid_is_precise_near_zero() -> None:
    x = np.array([-20.0, -40.0, -300.0, 40.0])
    np.testing.assert_allclose(sigmoid(x), torch.sigmoid(torch.from_numpy(x)), rtol=1e-15)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_of_extreme_logits_matches_torch(smoothing: float) -> None:
    labels = np.array([1, 0, 2])
    logits = np.array([[1e4, -1e4, 0.0], [-1e4, 1e4, 1.0], [710.0, -710.0, -745.0]])
    loss = lib.CrossEntropyLoss(label_smoothing=smoothing)
    value, gradient = loss.forward(logits, labels), loss.backward()
    module = torch.nn.CrossEntropyLoss(label_smoothing=smoothing)
    expected, expected_gradient = in_torch(module, logits, torch.from_numpy(labels))
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-12, atol=1e-300)


def test_a_logit_of_minus_infinity_is_allowed() -> None:
    logits = np.array([[0.0, -np.inf, 1.0]])
    loss = lib.CrossEntropyLoss().forward(logits, np.array([0]))
    assert loss == pytest.approx(np.log(1 + np.e), rel=1e-12)


def test_binary_cross_entropy_is_exact_for_large_logits() -> None:
    logits, targets = np.array([1000.0, -1000.0, -40.0, 40.0]), np.array([0.0, 1.0, 0.0, 1.0])
    loss = lib.BCEWithLogitsLoss(reduction="sum")
    expected = torch.nn.BCEWithLogitsLoss(reduction="sum")
    value = expected(torch.from_numpy(logits), torch.from_numpy(targets)).item()
    assert loss.forward(logits, targets) == pytest.approx(value, rel=1e-15)
    small = loss.forward(np.array([-40.0]), np.array([0.0]))
    assert small == pytest.approx(4.248354255291589e-18, rel=1e-12), "log1p, not log"


def test_dropout_drops_a_share_p_and_preserves_the_mean() -> None:
    layer, x = lib.Dropout(0.3, rng=np.random.default_rng(0)), np.ones((400, 500))
    y, again = layer.forward(x), layer.forward(x)
    assert (y == 0).mean() == pytest.approx(0.3, abs=0.01)
    assert y.mean() == pytest.approx(1, abs=0.01)
    assert not np.array_equal(y, again), "a new mask every time"
    assert set(np.unique(y)) == {0, 1 / 0.7}


def test_train_and_eval_reach_the_layers_inside() -> None:
    dropout, norm = lib.Dropout(0.5), lib.BatchNorm1d(3)
    network = lib.Sequential(lib.Residual(lib.Sequential(dropout)), norm)
    network.eval()
    assert not dropout.training
    assert not norm.training
    network.train()
    assert dropout.training
    assert norm.training


def test_a_state_dict_is_a_copy_and_a_failed_load_changes_nothing() -> None:
    layer = lib.Linear(3, 2)
    state = layer.state_dict()
    state["weight"] += 1
    assert not np.array_equal(state["weight"], layer.params["weight"])
    before = layer.state_dict()
    with pytest.raises(ValueError, match=r"expected bias \(2,\), got \(3,\)"):
        layer.load_state_dict({"weight": state["weight"], "bias": np.zeros(3)})
    np.testing.assert_array_equal(layer.params["weight"], before["weight"])


def test_a_layer_used_twice_is_refused() -> None:
    relu, linear = lib.ReLU(), lib.Linear(2, 2)
    with pytest.raises(ValueError, match="Sequential: a layer is used twice"):
        lib.Sequential(linear, relu, lib.Linear(2, 2), relu)
    with pytest.raises(ValueError, match="used twice"):
        lib.Sequential(relu, lib.Residual(lib.Sequential(relu)))


def test_momentum_keeps_a_copy_of_the_gradient() -> None:
    """The caller may reuse one array in every step."""
    weight, gradient = np.zeros(1), np.zeros(1)
    tensor = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    ours = lib.SGD({"w": weight}, lr=1.0, momentum=0.5)
    theirs = torch.optim.SGD([tensor], lr=1.0, momentum=0.5)
    for value in (1.0, 10.0, 100.0):
        gradient[:] = value
        ours.step({"w": gradient})
        tensor.grad = torch.full((1,), value, dtype=torch.float64)
        theirs.step()
    assert weight[0] == tensor.item() == -116.75


def test_a_mask_of_a_wrong_rank_is_refused() -> None:
    layer, x = lib.MultiheadAttention(4, 2, batch_first=True), np.ones((2, 3, 4), np.float32)
    for shape in ((2, 3, 3), (2, 3), (3,)):
        with pytest.raises(ValueError, match=r"expected a mask of shape \(3, 3\), or \(2, 2, 3, 3\)"):
            layer.forward(x, x, x, np.ones(shape, bool))
    layer.forward(x, x, x, np.ones((2, 1, 1, 3), bool))
    layer.forward(x, x, x, np.ones((3, 3), bool))


def test_clipping_of_huge_and_nan_gradients_matches_torch() -> None:
    huge = {"a": np.array([1e20], np.float32)}
    assert lib.clip_grad_norm_(huge, 1.0) == pytest.approx(1e20, rel=1e-6)
    assert huge["a"][0] == pytest.approx(1, rel=1e-6)
    missing = {"a": np.array([np.nan]), "b": np.array([10.0])}
    lib.clip_grad_norm_(missing, 1.0)
    assert np.isnan(missing["b"]).all()


@pytest.mark.parametrize(
    ("name", "arguments", "weights"),
    [
        ("Linear", (300, 200), ["weight", "bias"]),
        ("Conv2d", (40, 200, 3), ["weight", "bias"]),
        ("LSTM", (100, 120), ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"]),
        ("RNN", (100, 120), ["weight_ih_l0", "weight_hh_l0"]),
        ("GRU", (100, 120), ["weight_ih_l0", "weight_hh_l0"]),
        ("MultiheadAttention", (96, 4), ["in_proj_weight", "out_proj.weight"]),
        ("Embedding", (300, 200), ["weight"]),
    ],
)
def test_initial_values_have_the_distribution_in_torch(
    name: str, arguments: tuple[int, ...], weights: list[str]
) -> None:
    torch.manual_seed(0)
    ours = getattr(lib, name)(*arguments, rng=np.random.default_rng(0)).state_dict()
    theirs = {key: value.numpy() for key, value in getattr(torch.nn, name)(*arguments).state_dict().items()}
    for weight in weights:
        assert ours[weight].std() == pytest.approx(theirs[weight].std(), rel=0.1), weight
        assert np.abs(ours[weight]).max() == pytest.approx(np.abs(theirs[weight]).max(), rel=0.25)


def test_the_padding_row_of_an_embedding_starts_at_zero() -> None:
    assert not lib.Embedding(5, 3, padding_idx=2).params["weight"][2].any()
