"""The JavaScript layers of the explorer against shared/backprop, in float64."""

import base64
import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared import backprop
from shared.application import FinishedRun
from shared.training.numpy_learner import build_loss
from tests.helpers import ROOT, trained
from tools.explore.bundle import Bundle
from tools.explore.describe import describe, describe_layer, encode, numpy_network
from tools.runs import application_of

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")

Array = np.ndarray[Any, Any]
DRIVER = ROOT / "tests" / "tools" / "explore_cases.js"
RELATIVE = 1e-10  # of the largest number of an array: both sides add in another order
DRAWS = 8  # cases of each layer and loss
STEPS = 10


def run_modules(cases: Sequence[dict[str, Any]], folder: Path, texts: dict[Path, str] | None = None) -> Any:
    """Return the results of some cases, computed in one process; `texts` replaces files of the modules."""
    script = folder / "cases.mjs"
    script.write_text(Bundle(DRIVER, texts).script)
    done = subprocess.run(["node", script], input=json.dumps(cases), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout)


def decode(entry: dict[str, Any]) -> Array:
    content = base64.b64decode(entry["base64"])
    return np.frombuffer(content, entry["dtype"]).reshape(entry["shape"])


def differences(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """Return which arrays differ by more than rounding."""
    arrays = {
        name: decode(value) if isinstance(value, dict) else np.asarray(value) for name, value in found.items()
    }
    problems = [f"{name} is missing" for name in expected if name not in arrays]
    problems += [f"{name} is unknown" for name in arrays if name not in expected]
    for name in expected.keys() & arrays.keys():
        own, other = np.asarray(expected[name]), arrays[name]
        if own.shape != other.shape:
            problems.append(f"{name} has the shape {other.shape}, not {own.shape}")
        elif not np.abs(other - own).max(initial=0) <= RELATIVE * np.abs(own).max(initial=0):
            problems.append(f"{name} differs by {np.abs(other - own).max()}")
    return problems


# Layers


def draw_linear(random: np.random.Generator) -> tuple[backprop.Module, list[Array]]:
    fan_in, fan_out, bias = random.integers(1, 9), random.integers(1, 9), bool(random.integers(2))
    layer = backprop.Linear(int(fan_in), int(fan_out), bias, dtype=np.float64, rng=random)
    leading = random.integers(1, 5, random.integers(1, 3))
    return layer, [random.normal(size=(*leading, fan_in))]


def draw_elementwise(layer: Callable[[], backprop.Module]) -> Callable[..., Any]:
    def draw(random: np.random.Generator) -> tuple[backprop.Module, list[Array]]:
        x = 3 * random.normal(size=random.integers(1, 5, random.integers(2, 5)))
        x.flat[0] = 0
        return layer(), [x]

    return draw


LAYERS: dict[str, Callable[..., tuple[backprop.Module, list[Array]]]] = {
    "Linear": draw_linear,
    "Dropout": draw_elementwise(backprop.Dropout),
    "Flatten": draw_elementwise(backprop.Flatten),
    "ReLU": draw_elementwise(backprop.ReLU),
    "Sigmoid": draw_elementwise(backprop.Sigmoid),
    "Softmax": draw_elementwise(backprop.Softmax),
    "Tanh": draw_elementwise(backprop.Tanh),
}


def layer_case(name: str, random: np.random.Generator) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return a drawn case of a layer, and what shared/backprop computes for it."""
    layer, inputs = LAYERS[name](random)
    layer.eval()
    y = layer.forward(*inputs)
    dy = random.normal(size=y.shape)
    dx = layer.backward(dy)
    gradients = dx if isinstance(dx, tuple) else (dx,)
    case = {
        "kind": "layer",
        **describe_layer(name, layer),
        "weights": {key: encode(value) for key, value in (layer.params | layer.buffers).items()},
        "inputs": [encode(x) for x in inputs],
        "dy": encode(dy),
    }
    expected = {"y": y} | {str(number): gradient for number, gradient in enumerate(gradients)}
    return case, expected | layer.grads


def loss_case(name: Any, random: np.random.Generator) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return a drawn case of a loss, and what NumPy computes for it."""
    count, classes = int(random.integers(1, 6)), int(random.integers(2, 8)) if name == "cross_entropy" else 1
    logits = 10 * random.normal(size=(count, classes))
    labels = random.integers(0, max(classes, 2), count)
    loss = build_loss(name)
    expected = {"value": loss.forward(logits, labels), "gradient": loss.backward()}
    case = {"kind": "loss", "name": name, "logits": encode(logits), "labels": labels.tolist()}
    return case, expected


LOSSES = ("cross_entropy", "binary_cross_entropy", "squared_error")


def small_cases(
    names: Sequence[str] = (*LAYERS, *LOSSES),
) -> list[tuple[str, dict[str, Any], dict[str, Array]]]:
    """Return name, case and expected result of every draw."""
    found = []
    for name in names:
        random = np.random.default_rng(list(name.encode()))
        build = loss_case if name in LOSSES else layer_case
        found += [(name, *build(name, random)) for _ in range(DRAWS)]
    return found


@pytest.fixture(scope="module")
def problems(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What differs, by layer and loss."""
    cases = small_cases([*LAYERS, *LOSSES])
    results = run_modules([case for _, case, _ in cases], tmp_path_factory.mktemp("node"))
    found: dict[str, list[str]] = {}
    for (name, _, expected), result in zip(cases, results, strict=True):
        found.setdefault(name, []).extend(differences(result, expected))
    return found


@pytest.mark.parametrize("name", [*LAYERS, *LOSSES])
def test_a_layer_computes_what_backprop_computes(name: str, problems: dict[str, list[str]]) -> None:
    assert problems[name] == []


# Networks


NUMPY = ("framework=numpy", "trainer.threads=1", "debug=smoke")
NETWORKS = {
    "xor": ("xor", "corrections=false"),
    "xor squared error": ("xor", "corrections=false", "model=published"),
    "mlp": ("mnist_cnn", "model=mlp", "data=digits"),
}
OPTIMIZERS: list[tuple[str, dict[str, Any]]] = [("SGD", {"lr": 0.1, "momentum": 0.9}), ("Adam", {"lr": 0.01})]


def network_cases(folder: Path) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return a case of each optimizer for the network of a run, and what NumPy computes for it."""
    run = FinishedRun.open(application_of(folder), folder)
    description = describe(run)
    cases = []
    for name, options in OPTIMIZERS:
        model, weights = numpy_network(run)
        model.load_state_dict(weights)
        inputs, labels = run.test_examples().inputs[:4].astype(float), run.test_examples().labels[:4]
        loss, optimizer = build_loss(description["loss"]), getattr(backprop, name)(model.params, **options)
        losses: list[Any] = []
        first: dict[str, Any] = {}
        model.eval()
        for _ in range(STEPS):
            logits = model.forward(inputs)
            losses.append(loss.forward(logits, labels))
            model.backward(loss.backward())
            first = first or {"logits": logits, **model.grads}
            optimizer.step(model.grads)
        shape = (4, *description["input"]["shape"])
        case = {"inputs": encode(inputs.reshape(shape)), "labels": labels.tolist(), "steps": STEPS}
        case |= {"kind": "network", "description": description, "optimizer": name, "options": options}
        cases.append((case, {"losses": losses, "first": first, "last": dict(model.params)}))
    return cases


@pytest.mark.parametrize("network", NETWORKS)
def test_a_network_computes_what_backprop_computes(network: str, tmp_path: Path) -> None:
    app, *words = NETWORKS[network]
    cases = network_cases(trained(app, tmp_path / "run", *NUMPY, *words))
    results = run_modules([case for case, _ in cases], tmp_path)
    for (_, expected), found in zip(cases, results, strict=True):
        assert expected["losses"][0] != pytest.approx(expected["losses"][-1])
        assert differences({"losses": found["losses"]}, {"losses": expected["losses"]}) == []
        assert differences(found["first"], expected["first"]) == []
        assert differences(found["last"], expected["last"]) == []
