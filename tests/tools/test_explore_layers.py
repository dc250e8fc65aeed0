"""The JavaScript layers of the explorer against shared/backprop, in float64."""

import base64
import copy
import importlib
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from apps.mnist_cnn.numpy_model import OnImages
from apps.xor import data as xor_data
from shared import backprop
from shared.backprop.activations import softmax, softmax_backward
from shared.data import recall
from shared.data.digits import CLASSES
from shared.data.examples import Examples
from shared.data.handwriting import mnist_form
from shared.errors import DataError
from shared.runs.preprocessing import Preprocessing
from shared.training.numpy_learner import build_loss
from tests.helpers import ROOT, app_config
from tools.explore.bundle import Bundle
from tools.explore.describe import describe_layer, describe_network, encode

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")
pytestmark = needs_node

Array = np.ndarray[Any, Any]
LAYERS_FOLDER = ROOT / "tools" / "explore" / "layers"
FAULTS_FILE = ROOT / "tests" / "tools" / "explore_faults.txt"
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
    # The gradient of a bias of the keys is 0: a sum of terms that cancel but for the rounding of the largest.
    rounding = np.finfo(float).eps * max(np.abs(own).max(initial=0) for own in expected.values())
    for name in expected.keys() & arrays.keys():
        own, other = np.asarray(expected[name]), arrays[name]
        if own.shape != other.shape:
            problems.append(f"{name} has the shape {other.shape}, not {own.shape}")
        elif not np.abs(other - own).max() <= max(RELATIVE * np.abs(own).max(), rounding):
            problems.append(f"{name} differs by {np.abs(other - own).max()}")
    return problems


# Layers


def draw_linear(random: np.random.Generator) -> tuple[backprop.Module, list[Array]]:
    fan_in, fan_out, bias = random.integers(1, 9), random.integers(1, 9), bool(random.integers(2))
    layer = backprop.Linear(int(fan_in), int(fan_out), bias, dtype=np.float64, rng=random)
    leading = random.integers(1, 5, random.integers(1, 3))
    return layer, [random.normal(size=(*leading, fan_in))]


def draw_convolution(random: np.random.Generator) -> tuple[backprop.Module, list[Array]]:
    channels, out, bias = (int(n) for n in random.integers(1, 5, 3))
    kernel, stride, padding = draw_window(random)
    layer = backprop.Conv2d(
        channels, out, kernel, stride, padding, bias=bias > 2, dtype=np.float64, rng=random
    )
    return layer, [draw_images(random, channels)]


def draw_pooling(kind: Callable[..., backprop.Module]) -> Callable[..., Any]:
    def draw(random: np.random.Generator) -> tuple[backprop.Module, list[Array]]:
        kernel, stride, padding = draw_window(random)
        padding = (min(padding[0], kernel[0] // 2), min(padding[1], kernel[1] // 2))
        x = draw_images(random, int(random.integers(1, 4)))
        return kind(kernel, stride, padding), [np.round(x)]  # with equal pixels

    return draw


def draw_window(random: np.random.Generator) -> list[tuple[int, int]]:
    """Return the kernel size, stride and padding of a window."""
    return [(int(random.integers(low, 4)), int(random.integers(low, 4))) for low in (1, 1, 0)]


def draw_images(random: np.random.Generator, channels: int) -> Array:
    return random.normal(size=(random.integers(1, 4), channels, *random.integers(4, 9, 2)))


def draw_batch_norm(random: np.random.Generator) -> tuple[backprop.Module, list[Array]]:
    channels = int(random.integers(1, 5))
    layer = backprop.BatchNorm2d(channels, dtype=np.float64)
    for values in (layer.params["weight"], layer.params["bias"], layer.buffers["running_mean"]):
        values[:] = random.normal(size=channels)
    layer.buffers["running_var"][:] = random.uniform(0.1, 3, channels)
    return layer, [draw_images(random, channels)]


def draw_embedding(random: np.random.Generator) -> tuple[backprop.Module, list[Array]]:
    rows = int(random.integers(1, 6))
    layer = backprop.Embedding(rows, int(random.integers(1, 6)), dtype=np.float64, rng=random)
    return layer, [random.integers(0, rows, random.integers(1, 6, 2))]


def draw_attention(random: np.random.Generator) -> tuple[backprop.Module, list[Array]]:
    queries, keys, size, values = random.integers(1, 6, 4)
    leading = random.integers(1, 4, random.integers(1, 3))
    shapes = ((queries, size), (keys, size), (keys, values))
    return backprop.ScaledDotProductAttention(), [random.normal(size=(*leading, *shape)) for shape in shapes]


def draw_multihead(random: np.random.Generator) -> tuple[backprop.Module, list[Array]]:
    heads, queries, keys, count = (int(n) for n in random.integers(1, 5, 4))
    size = heads * int(random.integers(1, 4))
    layer = MultiheadAttention(size, heads, batch_first=True, dtype=np.float64, rng=random)
    for name in ("in_proj_bias", "out_proj.bias"):
        layer.params[name][:] = random.normal(size=layer.params[name].shape)
    return layer, [random.normal(size=(count, length, size)) for length in (queries, keys, keys)]


class MultiheadAttention(backprop.MultiheadAttention):
    """Returns y only, as in JavaScript."""

    def forward(self, *inputs: Array) -> Array:  # type: ignore[override]
        return super().forward(*inputs)[0]


def draw_elementwise(layer: Callable[[], backprop.Module]) -> Callable[..., Any]:
    def draw(random: np.random.Generator) -> tuple[backprop.Module, list[Array]]:
        x = 3 * random.normal(size=random.integers(1, 5, random.integers(2, 5)))
        x.flat[0] = 0
        return layer(), [x]

    return draw


LAYERS: dict[str, Callable[..., tuple[backprop.Module, list[Array]]]] = {
    "Linear": draw_linear,
    "Conv2d": draw_convolution,
    "MaxPool2d": draw_pooling(backprop.MaxPool2d),
    "AvgPool2d": draw_pooling(backprop.AvgPool2d),
    "BatchNorm2d": draw_batch_norm,
    "Embedding": draw_embedding,
    "ScaledDotProductAttention": draw_attention,
    "MultiheadAttention": draw_multihead,
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
    gradients = dx if isinstance(dx, tuple) else () if dx is None else (dx,)
    expected = {"y": y} | {str(number): gradient for number, gradient in enumerate(gradients)}
    kept = inside_attention(inputs, dy) if name == "ScaledDotProductAttention" else {}
    case = {
        "kind": "layer",
        **describe_layer(name, layer),
        "weights": {key: encode(value) for key, value in (layer.params | layer.buffers).items()},
        "inputs": [encode(x.astype(float)) for x in inputs],
        "dy": encode(dy),
        "kept": list(kept),
    }
    return case, expected | layer.grads | kept


def inside_attention(inputs: Sequence[Array], dy: Array) -> dict[str, Array]:
    """Return the arrays inside scaled dot-product attention, and their gradients."""
    query, key, value = inputs[:3]  # without a mask
    scores = query @ key.swapaxes(-1, -2) * query.shape[-1] ** -0.5
    weights, dweights = softmax(scores), dy @ value.swapaxes(-1, -2)
    dscores = softmax_backward(dweights, weights)
    return {"scores": scores, "weights": weights, "dweights": dweights, "dscores": dscores}


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


def layer_problems(
    names: Sequence[str], folder: Path, texts: dict[Path, str] | None = None
) -> dict[str, list[str]]:
    """Return what differs, by layer and loss; `texts` replaces files of the modules."""
    cases = []
    for name in names:
        random = np.random.default_rng(list(name.encode()))
        build = loss_case if name in LOSSES else layer_case
        cases += [(name, *build(name, random)) for _ in range(DRAWS)]
    results = run_modules([case for _, case, _ in cases], folder, texts)
    found: dict[str, list[str]] = {}
    for (name, _, expected), result in zip(cases, results, strict=True):
        found.setdefault(name, []).extend(differences(result, expected))
    return found


@pytest.fixture(scope="module")
def all_layers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    return layer_problems([*LAYERS, *LOSSES], tmp_path_factory.mktemp("node"))


@pytest.mark.parametrize("name", [*LAYERS, *LOSSES])
def test_a_layer_computes_what_backprop_computes(name: str, all_layers: dict[str, list[str]]) -> None:
    assert all_layers[name] == []


# Networks

# By name: the application and the keys of its configuration.
NETWORKS = {
    "xor": ("xor", "model=two_layer"),
    "published": ("xor", "model=published"),
    "no biases": ("xor", "model=no_biases"),
    "mlp": ("mnist_cnn", "model=mlp", "model.hidden=[6,5]"),
    "mlp of sigmoids": ("mnist_cnn", "model=mlp", "model.hidden=[6,5]", "model.activation=sigmoid"),
    "fast_cnn": ("mnist_cnn", "model=fast_cnn", "model.channels=[3,4]", "model.hidden=6"),
    "cnn": ("mnist_cnn", "model=cnn", "model.channels=[3,4]", "model.hidden=6"),
    "average pooling": (
        "mnist_cnn",
        "model=cnn",
        "model.channels=[2,3]",
        "model.hidden=5",
        "model.pool=average",
    ),
    "single_head": ("attention", "model=single_head", "model.embedding=8"),
    "multi_head": ("attention", "model=multi_head", "model.embedding=8", "model.heads=2"),
}
FULL_SIZE = {
    "mlp": ("mnist_cnn", "model=mlp"),
    "fast_cnn": ("mnist_cnn", "model=fast_cnn"),
    "cnn": ("mnist_cnn", "model=cnn"),
    "single_head": ("attention", "model=single_head"),
    "multi_head": ("attention", "model=multi_head"),
}
OPTIMIZERS: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.05, "momentum": 0.9}),
    ("Adam", {"lr": 0.01}),
]
# In full size there are gradients near eps, whose rounding Adam would enlarge to that of a step.
LARGE_EPS: list[tuple[str, dict[str, Any]]] = [("SGD", {"lr": 0.1}), ("Adam", {"lr": 0.01, "eps": 1e-4})]


def build_network(app: str, *words: str) -> tuple[Any, dict[str, Any], Array, NDArray[np.int64]]:
    """Return a network in NumPy, its description, and four examples."""
    random = np.random.default_rng(0)
    keys = ["framework=numpy", "trainer.precision=float64", "trainer.threads=1"]
    config = app_config(app, Path("run"), *words, *keys)
    own, loss = Preprocessing(name=app, classes=CLASSES), "cross_entropy"
    if app == "attention":
        own = Preprocessing(name=app, classes=[""] * config.data.values, vocabulary=[""] * 81)
        examples = recall.generate(4, config.data.keys, config.data.values, config.data.pairs, random)
    elif app == "xor":
        examples, loss = xor_data.examples(config.model.inputs), config.model.loss
    else:
        examples = Examples(random.normal(size=(4, 28, 28)), random.integers(0, 10, 4))
    application = importlib.import_module(f"apps.{app}.predict").APPLICATION
    model: Any = application.build_learner(config, own).model
    for buffer in model.buffers.values():
        buffer[...] = random.integers(1, 5, buffer.shape)
    description = {"app": app, "loss": loss, **describe_network(model, model.state_dict())}
    return model.eval(), description, examples.inputs, examples.labels


def network_cases(
    words: Sequence[str], optimizers: Sequence[tuple[str, dict[str, Any]]]
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return a case of each optimizer for a network, and what NumPy computes for it."""
    app, *keys = words
    built, description, inputs, labels = build_network(app, *keys)
    cases = []
    for name, options in optimizers:
        model = copy.deepcopy(built)
        loss, optimizer = build_loss(description["loss"]), getattr(backprop, name)(model.params, **options)
        in_javascript = inputs[:, None] if isinstance(model, OnImages) else inputs
        case = {
            "kind": "network",
            "description": description,
            "inputs": encode(in_javascript.astype(float)),
            "labels": labels.tolist(),
            "optimizer": name,
            "options": options,
            "steps": STEPS,
        }
        losses: list[Any] = []
        first: dict[str, Any] = {}
        passed = record_recall(model) if app == "attention" else record_chain(model, in_javascript)
        for _ in range(STEPS):
            losses.append(loss.forward(model.forward(inputs), labels))
            model.backward(loss.backward())
            first = first or {**model.grads, **passed()}
            optimizer.step(model.grads)
        cases.append((case, {"losses": losses, "first": first, "last": dict(model.params)}))
    return cases


def record(layer: Any) -> dict[str, Any]:
    """Return a dict that will hold what goes into a layer and comes out: x, y, dy and dx."""
    seen: dict[str, Any] = {}
    forward, backward = layer.forward, layer.backward

    def recorded_forward(*inputs: Array) -> Any:
        seen["x"], seen["y"] = inputs, forward(*inputs)
        return seen["y"]

    def recorded_backward(dy: Array) -> Any:
        seen["dy"], seen["dx"] = dy, backward(dy)
        return seen["dx"]

    layer.forward, layer.backward = recorded_forward, recorded_backward
    return seen


def record_chain(model: Any, inputs: Array) -> Callable[[], dict[str, Array]]:
    """Return a function that returns the activations of a chain of layers and their gradients."""
    layers = [record(layer) for layer in model.children.values()]

    def passed() -> dict[str, Array]:
        activations = [inputs, *(layer["y"] for layer in layers)]
        gradients = [*(layer["dx"] for layer in layers), layers[-1]["dy"]]
        return numbered("activations", activations) | numbered("gradients", gradients)

    return passed


def record_recall(model: Any) -> Callable[[], dict[str, Array]]:
    """Return a function that returns what RecallNetwork of recall.js lists."""
    embedding, dropout, fc = (record(model.children[name]) for name in ("embedding", "dropout", "fc"))
    inner = model.attention
    mixture = None
    if isinstance(inner, backprop.MultiheadAttention):
        mixture, inner = record(inner), inner.attention
    attention = record(inner)

    def passed() -> dict[str, Array]:
        x, dx = embedding["y"], embedding["dy"]
        mixed, dsum = mixture["y"][0] if mixture else attention["y"], dropout["dx"][:, None]
        inside = inside_attention(attention["x"], attention["dy"])
        activations = [embedding["x"][0], x, x[:, -1:], x[:, :-1:2] + x[:, 1::2], *attention["x"][:3]]
        activations += [inside["scores"], inside["weights"], mixed, dropout["x"][0][:, None], fc["y"]]
        gradients = [dx, dx[:, -1:], dx[:, :-1:2], *attention["dx"], inside["dscores"], inside["dweights"]]
        gradients += [dsum, dsum, fc["dy"]]
        return numbered("activations", activations) | numbered("gradients", [None, *gradients])

    return passed


def numbered(kind: str, arrays: Sequence[Array | None]) -> dict[str, Array]:
    return {f"{kind} {number}": x for number, x in enumerate(arrays) if x is not None}


def network_problems(
    networks: dict[str, tuple[str, ...]],
    folder: Path,
    optimizers: Sequence[tuple[str, dict[str, Any]]] = OPTIMIZERS,
    texts: dict[Path, str] | None = None,
) -> dict[str, list[str]]:
    """Return what differs, by network; `texts` replaces files of the modules."""
    cases = [(name, *case) for name, words in networks.items() for case in network_cases(words, optimizers)]
    results = run_modules([case for _, case, _ in cases], folder, texts)
    found: dict[str, list[str]] = {}
    for (name, case, expected), result in zip(cases, results, strict=True):
        assert abs(expected["losses"][-1] - expected["losses"][0]) > 0.001
        result |= {"losses": {"losses": result["losses"]}}
        expected |= {"losses": {"losses": expected["losses"]}}
        problems = [one for part in expected for one in differences(result[part], expected[part])]
        found.setdefault(name, []).extend(f"{case['optimizer']}: {problem}" for problem in problems)
    return found


@pytest.fixture(scope="module")
def small_networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    return network_problems(NETWORKS, tmp_path_factory.mktemp("node"))


@pytest.mark.parametrize("network", NETWORKS)
def test_a_network_computes_and_learns_as_in_numpy(
    network: str, small_networks: dict[str, list[str]]
) -> None:
    assert small_networks[network] == []


@pytest.mark.slow
@pytest.mark.parametrize("network", FULL_SIZE)
def test_a_network_in_full_size_computes_and_learns_as_in_numpy(network: str, tmp_path: Path) -> None:
    assert network_problems({network: FULL_SIZE[network]}, tmp_path, LARGE_EPS) == {network: []}


# Digits


def draw_pictures(count: int) -> list[Image.Image]:
    """Return digits and other shapes of any size and color, on paper with grain; some are empty."""
    random, pictures = np.random.default_rng(28), []
    for number in range(count):
        height, width = random.integers(12, 90, 2)
        strength = np.zeros((height, width))
        for _ in range(random.integers(1, 4)):
            top, left = random.integers(1, height - 4), random.integers(1, width - 4)
            bottom, right = random.integers(top + 1, height), random.integers(left + 1, width)
            strength[top:bottom, left:right] = random.uniform(0, 1, (bottom - top, right - left))
        paper, ink = random.integers(0, 256, (2, 3))
        if number % 8 == 0:
            ink = paper + 10  # an empty picture
        colors = paper + strength[..., None] * (ink - paper) + random.normal(0, 2, (height, width, 3))
        pictures.append(Image.fromarray(colors.clip(0, 255).astype(np.uint8)))
    return pictures


def picture_problems(folder: Path, texts: dict[Path, str] | None = None) -> list[str]:
    """Return which pictures are brought to another form than in Python."""
    pictures = draw_pictures(40)
    cases = [
        {
            "kind": "picture",
            "rgba": encode(np.asarray(picture.convert("RGBA"))),
            "width": picture.width,
            "height": picture.height,
        }
        for picture in pictures
    ]
    problems, empty = [], 0
    for number, (picture, found) in enumerate(zip(pictures, run_modules(cases, folder, texts), strict=True)):
        try:
            pixels, dark = mnist_form(picture, "picture")
        except DataError:
            empty += 1
            expected = None
        else:
            expected = {"pixels": pixels.ravel().tolist(), "dark": dark}
        if found != expected:
            problems.append(f"picture {number}")
    assert 5 <= empty <= len(pictures) / 2
    return problems


def test_a_picture_is_brought_to_the_form_of_mnist_as_in_python(tmp_path: Path) -> None:
    assert picture_problems(tmp_path) == []


# Planted faults


class Fault(NamedTuple):
    """A mistake in a file of the modules, which the comparison of `place` must find."""

    file: str
    place: str  # a layer, a loss or a network
    mistake: str
    old: str
    new: str


def read_faults() -> list[Fault]:
    """Return the faults in explore_faults.txt, which explains its format."""
    faults = []
    for block in re.split(r"\n\n+", FAULTS_FILE.read_text().strip())[1:]:
        head, *changes = block.split("\n")
        code = ("\n".join(line[2:] for line in changes if line[0] == sign) for sign in "-+")
        faults.append(Fault(*head.split(" | "), *code))
    return faults


FAULTS = read_faults()


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.place}: {fault.mistake}")
def test_a_planted_fault_is_found(fault: Fault, tmp_path: Path) -> None:
    path = LAYERS_FOLDER / fault.file
    text = path.read_text()
    assert text.count(fault.old) == 1
    texts = {path: text.replace(fault.old, fault.new)}
    if fault.place == "digit":
        assert picture_problems(tmp_path, texts) != []
        return
    if fault.place in NETWORKS:
        problems = network_problems({fault.place: NETWORKS[fault.place]}, tmp_path, texts=texts)
    else:
        problems = layer_problems([fault.place], tmp_path, texts)
    assert problems[fault.place] != []


def test_faults_are_spread_over_all_modules() -> None:
    assert {fault.file for fault in FAULTS} == {path.name for path in LAYERS_FOLDER.glob("*.js")}
