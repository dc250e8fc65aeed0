"""The check of a layer: it names the mistake, accuses no correct layer, and says what is in the way."""

import sys
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared import backprop
from shared.backprop import Array
from tests.forks import Forks
from tests.helpers import ROOT
from tools.check import check
from tools.check.__main__ import main
from tools.check.observe import LayerFailed
from tools.gradcheck.faults import FAULTS, plant

RNG = np.random.default_rng(0)
X, TARGET = RNG.standard_normal((4, 3)), RNG.uniform(0.1, 0.9, (4, 3))
IMAGES = RNG.standard_normal((2, 2, 5, 5))


class Layer:
    """A learner's layer, from two functions of it: forward(self, x) and backward(self, dy)."""

    def __init__(self, forward: Any, backward: Any, **arrays: Any) -> None:
        self.__dict__ |= arrays
        self._forward, self._backward = forward, backward

    def forward(self, x: Array) -> Array:
        self.x = x
        self.y: Array = self._forward(self, x)
        return self.y

    def backward(self, dy: Array) -> Any:
        return self._backward(self, dy)


def linear(dw: Any, db: Any, dx: Any) -> Layer:
    """Return a linear layer in the decks' convention, a column per output."""

    def backward(self: Any, dy: Array) -> Any:
        self.dW, self.db = dw(self, dy), db(self, dy)
        return dx(self, dy)

    weights = np.random.default_rng(1).standard_normal((3, 3))
    return Layer(lambda self, x: x @ self.W + self.b, backward, W=weights, b=np.zeros((1, 3)))


def right_dw(self: Any, dy: Array) -> Array:
    return self.x.T @ dy


def right_db(self: Any, dy: Array) -> Array:
    return dy.sum(axis=0, keepdims=True)


def right_dx(self: Any, dy: Array) -> Array:
    return dy @ self.W.T


def sigmoid(self: Any, x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def in_place(self: Any, dy: Array) -> Array:
    dy *= 1 - self.y**2
    return dy


def overflow(self: Any, x: Array) -> Array:
    return np.log(x - 10)


OWN_MISTAKES: list[tuple[Layer, str]] = [
    (linear(lambda s, dy: dy.T @ s.x, right_db, right_dx), "dweight of Linear: transposed"),
    (linear(lambda s, dy: 1.0005 * s.x.T @ dy, right_db, right_dx), "dweight of Linear: wrong by 0.05 %"),
    (linear(right_dw, lambda s, dy: None, right_dx), "dbias of Linear: missing"),
    (linear(right_dw, lambda s, dy: right_db(s, dy) / 4, right_dx), "dbias of Linear: mean instead of sum"),
    (linear(right_dw, right_db, lambda s, dy: dy @ s.W), "dx of Linear: the weight is transposed"),
    (linear(right_dw, right_db, lambda s, dy: 0 * dy), "dx of Linear: zeros"),
    (Layer(sigmoid, lambda s, dy: dy * (1 - s.y)), "dx of Sigmoid: a factor is missing"),
    (Layer(lambda s, x: np.tanh(x), lambda s, dy: dy * (1 - s.y)), "dx of Tanh: a square is missing"),
    (Layer(lambda s, x: np.tanh(x), in_place), "gradient of y of Tanh: the gradient is modified in place"),
    (
        Layer(lambda s, x: np.exp(x) / np.exp(x).sum(-1, keepdims=True), lambda s, dy: s.y * dy),
        "dx of Softmax: the sum is missing",
    ),
]


@pytest.mark.parametrize(("layer", "mistake"), OWN_MISTAKES, ids=[mistake for _, mistake in OWN_MISTAKES])
def test_a_learners_mistake_is_named(layer: Layer, mistake: str) -> None:
    result = check(layer, X)
    assert not result.ok
    assert result.mistake == mistake
    assert mistake in repr(result)


@pytest.mark.parametrize(
    ("layer", "problem"),
    [
        (Layer(sigmoid, lambda s, dy: -dy * s.y * (1 - s.y)), "its sign is wrong"),
        (
            Layer(sigmoid, lambda s, dy: dy * s.y * (1 - s.y) / 4),
            "it is 0.25 times the right one, 1 / the number of examples\n",
        ),
        (
            Layer(sigmoid, lambda s, dy: dy * s.y * (1 - s.y) * 12),
            "12 times the right one, the number of elements",
        ),
        (Layer(lambda s, x: np.maximum(x, 0), lambda s, dy: dy), "a mask is missing"),
        (Layer(sigmoid, lambda s, dy: dy[:, :2]), "dx has shape (4, 2) instead of (4, 3)"),
        (Layer(sigmoid, lambda s, dy: None), "dx is missing"),
    ],
)
def test_a_simple_relation_to_the_right_gradient_is_named(layer: Layer, problem: str) -> None:
    assert problem in repr(check(layer, X))


def test_a_relation_is_named_where_some_numbers_have_no_derivative() -> None:
    layer = Layer(lambda s, x: np.abs(x) + x / 2, lambda s, dy: 3 * dy * (np.sign(s.x) + 0.5))
    assert "it is 3 times the right one\n" in f"{check(layer, np.round(X))!r}\n"


def normalize(self: Any, x: Array) -> Array:
    self.centered = x - x.mean(-1, keepdims=True)
    self.scale = 1 / np.sqrt((self.centered**2).mean(-1, keepdims=True) + 1e-5)
    return self.centered * self.scale


def normalize_backward(self: Any, dy: Array) -> Array:
    along = self.y * (dy * self.y).mean(-1, keepdims=True)
    dx: Array = self.scale * (dy - dy.mean(-1, keepdims=True) - along)
    return dx


def scale_backward(self: Any, dy: Array) -> Array:
    self.dscale = (dy * self.x).sum(axis=0)
    dx: Array = dy * self.scale
    return dx


CORRECT: list[tuple[Any, tuple[Array, ...]]] = [
    (linear(right_dw, right_db, right_dx), (X,)),
    (Layer(sigmoid, lambda s, dy: dy * s.y * (1 - s.y)), (X,)),
    (Layer(lambda s, x: np.maximum(x, 0), lambda s, dy: dy * (s.x > 0)), (np.round(X),)),
    (Layer(lambda s, x: np.where(x > 0, x, 0.1 * x), lambda s, dy: np.where(s.x > 0, dy, 0.1 * dy)), (X,)),
    (Layer(lambda s, x: x**3, lambda s, dy: 3 * dy * s.x**2), (X,)),
    (Layer(lambda s, x: np.sin(x), lambda s, dy: dy * np.cos(s.x)), (X,)),
    (Layer(lambda s, x: np.log1p(np.exp(x)), lambda s, dy: dy * sigmoid(s, s.x)), (X,)),
    (Layer(lambda s, x: x.mean(0), lambda s, dy: np.repeat(dy[None], 4, 0) / 4), (X,)),
    (Layer(lambda s, x: x.reshape(len(x), -1), lambda s, dy: dy.reshape(s.x.shape)), (IMAGES,)),
    (Layer(lambda s, x: x.T, lambda s, dy: dy.T), (X,)),
    (Layer(normalize, normalize_backward), (X,)),
    (Layer(lambda s, x: s.scale * x, scale_backward, scale=np.arange(3.0)), (X,)),
    *((kind(), (X,)) for kind in (backprop.ReLU, backprop.ReLU6, backprop.Sigmoid, backprop.Tanh)),
    *((backprop.GELU(form), (X,)) for form in ("none", "tanh")),
    (backprop.Softmax(), (X,)),
    (backprop.Dropout(0.5, rng=np.random.default_rng(0)), (X,)),
    (backprop.Linear(3, 2), (X,)),
    (backprop.LayerNorm(3), (X,)),
    (backprop.BatchNorm1d(3), (X,)),
    (backprop.Conv2d(2, 3, 3), (IMAGES,)),
    (backprop.MaxPool2d(2), (IMAGES,)),
    (backprop.AvgPool2d(2), (IMAGES,)),
    (backprop.AdaptiveAvgPool2d(1), (IMAGES,)),
    (backprop.Sequential(backprop.Linear(3, 4), backprop.Tanh(), backprop.Linear(4, 2)), (X,)),
    (backprop.Residual(backprop.Linear(3, 3)), (X,)),
    (backprop.RNN(3, 2), (X[None],)),
    *((kind(), (X, TARGET)) for kind in (backprop.MSELoss, backprop.BCEWithLogitsLoss)),
]


class Square:
    """A loss that keeps its inputs."""

    def forward(self, x: Array, t: Array) -> float:
        self.x, self.t = x, t
        return float(((x - t) ** 2).sum())

    def backward(self) -> Array:
        return 2 * (self.x - self.t)


def test_a_gradient_of_zero_may_be_missing() -> None:
    result = check(Layer(lambda s, x: np.ones(len(x)), lambda s, dy: None), X)
    assert repr(result) == "Layer: everything agrees"


def test_no_correct_layer_is_accused() -> None:
    used = Square()
    used.forward(X, TARGET)
    cases = [*CORRECT, (Square(), (X, TARGET)), (used, (X, TARGET))]
    assert len(cases) >= 30
    for layer, inputs in cases:
        result = check(layer, *inputs)
        assert result.ok, result
        assert result.right, result


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (object(), "object has no method forward"),
        (
            Layer(sigmoid, lambda s, dy: dy / s.nothing),
            r"raised AttributeError: .*nothing.*\n  line \d+: .*s.nothing",
        ),
        (Layer(overflow, lambda s, dy: dy), "forward returned NaN or infinity"),
        (Layer(lambda s, x: "text", lambda s, dy: dy), "forward returned str, not an array"),
        (Layer(lambda s, x: x * np.random.default_rng().random(), lambda s, dy: dy), "forward is random"),
        (
            Layer(lambda s, x: x[:, :7] @ np.ones((2, 2)), lambda s, dy: dy),
            "forward raised ValueError: matmul",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_what_cannot_be_checked_is_said(layer: Any, message: str) -> None:
    with pytest.raises(LayerFailed, match=message):
        check(layer, X)


def test_an_input_that_the_layer_changes_is_reported() -> None:
    def forward(self: Any, x: Array) -> Array:
        x *= 2
        return x.copy()

    assert "x is modified in place" in repr(check(Layer(forward, lambda s, dy: 2 * dy), X))


def test_a_torch_function_and_a_module_are_checked() -> None:
    import torch

    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, x: Any) -> Any:
            y = torch.tanh(x)
            context.save_for_backward(y)
            return y

        @staticmethod
        def backward(context: Any, dy: Any) -> Any:
            (y,) = context.saved_tensors
            return dy * (1 - y)

    class Broken(Wrong):
        @staticmethod
        def backward(context: Any, dy: Any) -> Any:
            return dy * context.nothing

    assert check(Wrong, X).mistake == "dx of Tanh: a square is missing"
    with pytest.raises(
        LayerFailed, match=r"^Broken.backward raised .*\n  line \d+: return dy \* context.noth"
    ):
        check(Broken, X)
    module = torch.nn.Linear(3, 2)
    result = check(module, torch.tensor(X))
    assert (result.ok, result.counterpart) == (True, "Linear")
    assert module.weight.dtype == torch.float32  # only a copy is in float64


LAYER = """
import numpy as np

class MyTanh:
    def forward(self, x):
        self.y = np.tanh(x)
        return self.y

    def backward(self, dy):
        return dy * (1 - self.y{})
"""


@pytest.mark.parametrize(
    ("power", "status", "line"), [("**2", 0, "MyTanh: everything agrees"), ("", 5, "dx is wrong")]
)
def test_a_file_is_checked(
    power: str, status: int, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my_layer.py").write_text(LAYER.format(power))
    assert main([f"file={tmp_path}/my_layer.py:MyTanh"]) == status
    assert line in capsys.readouterr().out


def test_a_file_may_import_its_neighbors_and_define_dataclasses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.path", [*sys.path])
    layer = LAYER.format("**2").replace("class", "@dataclass\nclass").replace("np.tanh", "neighbor")
    imports = "from __future__ import annotations\nfrom dataclasses import dataclass\n"
    (tmp_path / "dataclass_layer.py").write_text(f"{imports}from beside_it import neighbor\n{layer}")
    (tmp_path / "beside_it.py").write_text("from numpy import tanh as neighbor\n")
    assert main([f"file={tmp_path}/dataclass_layer.py:MyTanh"]) == 0
    assert "MyTanh: everything agrees" in capsys.readouterr().out


MATMUL = "matmul: Input operand 1 has a mismatch in its core dimension 0"
TRIED = "  inputs tried: 4,3; 4,2; 2,3,6,6; 2,1,6,6; 4,5,3; 4,3+4,3; input=SHAPE gives another\n"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        # backward fails: another input is no help
        (
            "**2",
            "**two",
            "MyTanh.backward raised NameError: name 'two' is not defined\n"
            "  line 10: return dy * (1 - self.y**two)\n",
        ),
        (
            "np.tanh(x)",
            "np.tanh(x @ np.ones((7, 7)))",
            f"MyTanh.forward raised ValueError: {MATMUL}, *\n"
            f"  line 6: self.y = np.tanh(x @ np.ones((7, 7)))\n{TRIED}",
        ),
        # forward takes two inputs: not the complaint that there is only one
        (
            "forward(self, x):",
            "forward(self, x, t):\n        x = other",
            f"MyTanh.forward raised NameError: name 'other' is not defined\n  line 6: x = other\n{TRIED}",
        ),
        (
            "return dy",
            "return np.stack([dy, dy[0]])",
            "MyTanh.backward raised ValueError: all input arrays must have the same shape\n"
            "  line 10: return np.stack([dy, dy[0]]) * (1 - self.y**2)\n",
        ),
        ("import", "imports", "cannot make MyTanh from my_layer.py: SyntaxError: invalid syntax (*)\n"),
        (
            "class",
            "nothing\nclass",
            "cannot make MyTanh from my_layer.py: NameError: name 'nothing' is not defined\n"
            "  line 4: nothing\n",
        ),
        (
            "import numpy",
            "raise ModuleNotFoundError(name='torch')\nimport numpy",
            "torch is not installed; run *\n",
        ),
        (
            "import numpy",
            "import not_there\nimport numpy",
            "cannot make MyTanh from my_layer.py: ModuleNotFoundError: No module named 'not_there'\n"
            "  line 2: import not_there\n",
        ),
    ],
    ids=["backward", "shape", "two inputs", "in NumPy", "syntax", "name", "torch", "import"],
)
def test_an_error_in_the_file_is_shown_with_its_line(
    old: str,
    new: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    Path("my_layer.py").write_text(LAYER.format("**2").replace(old, new))
    assert main(["file=my_layer.py:MyTanh"]) == 2
    error = capsys.readouterr().err
    assert fnmatchcase(error, f"error: {message}".replace("[", "[[]")), error


def test_a_wrong_command_is_refused_before_a_framework_is_imported(forks: Forks, tmp_path: Path) -> None:
    (tmp_path / "empty.py").write_text("")
    for word, message in (
        ("file=nothing.py:Layer", "nothing.py does not exist"),
        ("file=nothing.py", "give the layer as file=my_layer.py:MyLayer"),
        (f"file={tmp_path}/empty.py:Layer", "cannot make Layer"),
    ):
        result = forks.run("tools.check", word)
        assert (result.returncode, message in result.stderr) == (2, True), result.stderr


def cases(name: str) -> Iterator[tuple[Any, int]]:
    """Yield options and seeds of a layer's cases in the gradient check."""
    from hypothesis import Phase, given, seed, settings

    from tools.gradcheck.checks import SETTINGS
    from tools.gradcheck.entries import ENTRIES

    drawn = list(ENTRIES[name].always)

    @seed(0)
    @settings(max_examples=10, phases=[Phase.generate], **SETTINGS)
    @given(ENTRIES[name].options)
    def draw(options: Any) -> None:
        drawn.append(options)

    draw()
    yield from ((options, number) for number, options in enumerate(drawn))


def check_case(library: Any, name: str, options: Any, number: int) -> Any:
    """Check one case; None if it has no input that `check` could give."""
    from tools.gradcheck.entries import ENTRIES, LayerEntry

    entry = ENTRIES[name]
    assert isinstance(entry, LayerEntry)
    case = entry.case(library, options, number)
    keywords, inputs = dict(case.keywords), list(case.inputs.values())
    inputs += [
        keywords.pop(key) for key in ("target", "x") if key in keywords and (key == "target" or not inputs)
    ]
    return check(case.build(), *inputs, **keywords) if inputs and "h0" not in case.inputs else None


@pytest.mark.slow
@pytest.mark.usefixtures("keras_float64")
def test_most_planted_faults_are_named_and_no_case_is_accused() -> None:
    """Without optimizers; some faults are not mistakes of a gradient, but of what a layer refuses."""
    import tools.gradcheck.checks  # noqa: F401  (registers the entries)
    from tools.gradcheck.entries import ENTRIES, LayerEntry

    names = [name for name, entry in ENTRIES.items() if isinstance(entry, LayerEntry)]
    outcomes = Counter[str]()
    for name in names:
        for options, number in cases(name):
            result = check_case(backprop, name, options, number)
            assert result is None or result.ok, result
            outcomes["correct"] += result is not None
    for fault in (fault for fault in FAULTS if fault.layer in names):
        outcome, library = "not noticed", plant(fault)
        for options, number in cases(fault.layer):
            try:
                result = check_case(library, fault.layer, options, number)
            except LayerFailed:
                outcome = "refused"
                continue
            if result is not None and not result.ok:
                expected = f"{fault.quantity} of {fault.layer}: {fault.mistake}"
                named = "named wrong" if result.mistake else "not named"
                outcome = "named right" if result.mistake == expected else named
                break
        outcomes[outcome] += 1
    print(outcomes)
    assert outcomes["correct"] >= 300
    assert outcomes["named wrong"] == 0
    assert outcomes["named right"] >= 0.8 * (outcomes.total() - outcomes["correct"])
    page = (ROOT / "docs" / "gradients.md").read_text()
    faults = outcomes.total() - outcomes["correct"]
    assert f"names {outcomes['named right']} of {faults} right" in page
    assert f"none of {outcomes['correct']} correct cases" in page
