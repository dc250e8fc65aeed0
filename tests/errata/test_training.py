"""Training loops in torch, as published and corrected."""

import timeit
import warnings

import numpy as np
import pytest
import torch
import torchvision  # type: ignore[import-untyped]
from torch import nn
from torch.nn import functional as F

from shared.backprop import Adam, Array


def test_outputs_vary_in_training_mode() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 2))
    x = torch.randn(100, 4)
    network.train()
    F.cross_entropy(network(x), x.argmax(1) % 2).backward()
    assert network.training  # the published program ends here
    assert not torch.equal(network(x), network(x))
    network.eval()
    assert torch.equal(network(x), network(x))


def test_one_review_at_a_time() -> None:
    assert -(-25_000 // 64) == 391  # steps per epoch, instead of 25,000
    torch.manual_seed(0)
    rnn, x = nn.RNN(32, 32, batch_first=True), torch.randn(64, 20, 32)

    def one_by_one() -> None:
        for row in x:
            rnn(row[None])[1].sum().div(len(x)).backward()

    def together() -> None:
        rnn(x)[1].sum().div(len(x)).backward()

    gradients, times = [], []
    for run in (one_by_one, together):
        times.append(min(timeit.repeat(run, rnn.zero_grad, number=1, repeat=2)))
        gradients.append(torch.cat([p.grad.flatten() for p in rnn.parameters() if p.grad is not None]))
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-3, atol=1e-5)
    assert times[0] > 3 * times[1]


def train_a_bias(labels: Array) -> tuple[float, float, float]:
    """Learn one logit from labels only; return the probability, the last and the mean loss."""
    params, last = {"b": np.zeros(1)}, 0.0
    optimizer = Adam(params, lr=1e-3)
    for label in labels:
        b = params["b"][0]
        last = float(np.logaddexp(0, b) - b * label)
        optimizer.step({"b": 1 / (1 + np.exp(-params["b"])) - label})
    b = params["b"][0]
    mean = float(np.mean(np.logaddexp(0, b) - b * labels))
    return float(1 / (1 + np.exp(-b))), last, mean


def test_sorted_labels_bias_the_prediction() -> None:
    labels = np.repeat([0.0, 1.0], 12_500)
    probability, last, mean = train_a_bias(labels)
    assert probability == pytest.approx(0.975, abs=0.0005)
    assert last == pytest.approx(0.025, abs=0.0005)  # what the published program prints
    assert mean == pytest.approx(1.86, abs=0.005)
    shuffled = np.random.default_rng(0).permutation(labels)
    probability, _, mean = train_a_bias(shuffled)
    assert probability == pytest.approx(0.5, abs=0.05)
    assert mean == pytest.approx(0.6931, abs=0.005)


def test_pretrained_is_deprecated() -> None:
    with pytest.warns(UserWarning, match="^The parameter 'pretrained' is deprecated since 0.13"):
        torchvision.models.squeezenet1_1(pretrained=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torchvision.models.squeezenet1_1(weights=None)


def test_frozen_batch_norm_moves_in_training_mode() -> None:
    torch.manual_seed(0)
    network = torchvision.models.ResNet(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1])
    for parameter in network.parameters():
        parameter.requires_grad = False
    network.fc = nn.Linear(512, 10)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    images = torch.randn(4, 3, 32, 32)

    def moved() -> set[str]:
        state = network.state_dict()
        return {name.rpartition(".")[2] for name in state if not torch.equal(state[name], before[name])}

    network.eval()
    network.fc.train()
    network(images)
    assert not moved()
    network.train()
    with torch.no_grad():
        network(images)
    assert moved() == {"running_mean", "running_var", "num_batches_tracked"}
    drift = (network.bn1.running_var - before["bn1.running_var"]).abs().mean()
    assert drift > 0.01
