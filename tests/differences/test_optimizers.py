"""Optimizers in torch and Keras: where a weight ends for the same gradients."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import torch

ONES = [1.0] * 20
SLOWER = [0.1] * 10 + [0.01] * 10  # learning rates


def in_torch(
    make: Callable[..., torch.optim.Optimizer],
    gradients: Sequence[float],
    rates: Sequence[float] = (),
    start: float = 0.0,
) -> float:
    weight = torch.tensor([start], dtype=torch.float64, requires_grad=True)
    optimizer = make([weight])
    for step, gradient in enumerate(gradients):
        if rates:
            optimizer.param_groups[0]["lr"] = rates[step]
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
    return weight.item()


def in_keras(
    optimizer: Any, gradients: Sequence[float], rates: Sequence[float] = (), start: float = 0.0
) -> float:
    weight = keras.Variable(np.array([start]))
    for step, gradient in enumerate(gradients):
        if rates:
            optimizer.learning_rate.assign(rates[step])
        optimizer.apply([keras.ops.convert_to_tensor(np.array([gradient]))], [weight])
    return float(weight[0])


def defaults(optimizer: type, *names: str) -> list[Any]:
    parameters = inspect.signature(optimizer.__init__).parameters  # type: ignore[misc]
    return [parameters[name].default for name in names]


@pytest.mark.parametrize(("nesterov", "of_torch", "of_keras"), [(False, -4.93, -8.37), (True, -5.54, -8.63)])
def test_momentum_when_the_learning_rate_changes(nesterov: bool, of_torch: float, of_keras: float) -> None:
    def ends(rates: list[float]) -> tuple[float, float]:
        return (
            in_torch(lambda w: torch.optim.SGD(w, 0.1, momentum=0.9, nesterov=nesterov), ONES, rates),
            in_keras(keras.optimizers.SGD(0.1, momentum=0.9, nesterov=nesterov), ONES, rates),
        )

    first, second = ends([0.1] * 20)
    assert first == pytest.approx(second, rel=1e-6)
    first, second = ends(SLOWER)
    assert first == pytest.approx(of_torch, abs=0.005)
    assert second == pytest.approx(of_keras, abs=0.005)


def test_adam_epsilon() -> None:
    """The first step, in units of the learning rate, for a gradient of 1e-6."""
    assert defaults(torch.optim.Adam, "eps") == [1e-8]
    assert defaults(keras.optimizers.Adam, "epsilon") == [1e-7]
    assert -in_torch(lambda w: torch.optim.Adam(w, 1.0), [1e-6]) == pytest.approx(0.990, abs=5e-4)
    assert -in_keras(keras.optimizers.Adam(1.0), [1e-6]) == pytest.approx(0.240, abs=5e-4)


def test_no_constant_epsilon_makes_adam_equal() -> None:
    """A constant gradient of 1 keeps v / (1 - beta2^t) at 1, so only epsilon matters."""
    eps = 0.5
    for steps, factor in [(1, 0.0316), (100, 0.309)]:
        exact = np.sqrt(1 - 0.999**steps)
        assert exact == pytest.approx(factor, abs=5e-4)
        gradients = np.ones(steps).tolist()
        rates = [0.0] * (steps - 1) + [1.0]  # only the last step moves the weight
        moved = -in_torch(lambda w: torch.optim.Adam(w, 1.0, eps=eps), gradients, rates)
        assert moved == pytest.approx(1 / 1.5)
        fitted = keras.optimizers.Adam(1.0, epsilon=eps * exact)
        assert -in_keras(fitted, gradients, rates) == pytest.approx(moved, rel=1e-4)
        same = keras.optimizers.Adam(1.0, epsilon=eps)
        assert -in_keras(same, gradients, rates) == pytest.approx(1 / (1 + eps / exact), rel=1e-4)


def test_rmsprop_epsilon_and_defaults() -> None:
    """The first step, in units of the learning rate, for a gradient of 1e-5."""
    assert defaults(torch.optim.RMSprop, "lr", "alpha", "eps") == [0.01, 0.99, 1e-8]
    assert defaults(keras.optimizers.RMSprop, "learning_rate", "rho", "epsilon") == [0.001, 0.9, 1e-7]
    assert -in_torch(lambda w: torch.optim.RMSprop(w, 1.0), [1e-5]) == pytest.approx(9.90, abs=5e-3)
    assert -in_keras(keras.optimizers.RMSprop(1.0), [1e-5]) == pytest.approx(0.0316, abs=5e-5)
    # The divisor of the learning rate near v = 0
    tiny = 1e-12
    of_torch = tiny / -in_torch(lambda w: torch.optim.RMSprop(w, 1.0), [tiny])
    of_keras = tiny / -in_keras(keras.optimizers.RMSprop(1.0), [tiny])
    assert of_torch == pytest.approx(1e-8, rel=1e-3)
    assert of_keras == pytest.approx(3.16e-4, rel=1e-3)


def test_rmsprop_momentum_and_centering() -> None:
    """With gradients of 1, rho 0 and epsilon 0, each step without momentum is the learning rate."""
    keywords: dict[str, Any] = {"momentum": 0.9}
    of_torch = in_torch(lambda w: torch.optim.RMSprop(w, 0.1, alpha=0.0, eps=0.0, **keywords), ONES, SLOWER)
    of_keras = in_keras(keras.optimizers.RMSprop(0.1, rho=0.0, epsilon=0.0, **keywords), ONES, SLOWER)
    assert of_torch == pytest.approx(-4.93, abs=0.005)
    assert of_keras == pytest.approx(-8.37, abs=0.005)
    # v = 1/2 and m = 1/2 after one step: v - m^2 = 1/4, and epsilon outside or inside the root.
    of_torch = in_torch(lambda w: torch.optim.RMSprop(w, 1.0, alpha=0.5, eps=0.75, centered=True), [1.0])
    of_keras = in_keras(keras.optimizers.RMSprop(1.0, rho=0.5, epsilon=0.75, centered=True), [1.0])
    assert of_torch == pytest.approx(-0.8)
    assert of_keras == pytest.approx(-1.0)


def test_adagrad_initial_value_and_epsilon() -> None:
    """The first step, in units of the learning rate, for a gradient of 0.1."""
    start = "initial_accumulator_value"
    assert defaults(torch.optim.Adagrad, "lr", start, "eps") == [0.01, 0, 1e-10]
    assert defaults(keras.optimizers.Adagrad, "learning_rate", start, "epsilon") == [0.001, 0.1, 1e-7]
    assert -in_torch(lambda w: torch.optim.Adagrad(w, 1.0), [0.1]) == pytest.approx(1.0)
    assert -in_keras(keras.optimizers.Adagrad(1.0), [0.1]) == pytest.approx(0.302, abs=5e-4)
    of_torch = in_torch(lambda w: torch.optim.Adagrad(w, 1.0, eps=3.0), [1.0])
    started_at_zero = keras.optimizers.Adagrad(1.0, initial_accumulator_value=0.0, epsilon=3.0)
    assert of_torch == pytest.approx(-1 / 4)
    assert in_keras(started_at_zero, [1.0]) == pytest.approx(-1 / 2)


def test_weight_decay_in_torch_goes_through_the_gradient() -> None:
    """One step with weight 1, gradient 0, learning rate 0.01, weight decay 0.1."""
    for kind, expected in [
        (torch.optim.Adam, 0.99),
        (torch.optim.RMSprop, 0.9),
        (torch.optim.Adagrad, 0.99),
        (torch.optim.SGD, 0.999),
        (torch.optim.AdamW, 0.999),
    ]:
        make: Any = kind
        weight = in_torch(lambda w, make=make: make(w, lr=0.01, weight_decay=0.1), [0.0], (), 1.0)
        assert weight == pytest.approx(expected, abs=1e-6), kind


DECOUPLED = ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"]
DECOUPLED += ["Adadelta", "Adamax", "Nadam", "Lion", "Lamb", "Adafactor"]


def test_weight_decay_in_keras_is_decoupled() -> None:
    """The same step as above."""
    for name in DECOUPLED:
        optimizer = getattr(keras.optimizers, name)(0.01, weight_decay=0.1)
        assert in_keras(optimizer, [0.0], (), 1.0) == pytest.approx(0.999, abs=1e-9), name


def test_weight_decay_in_keras_has_exceptions() -> None:
    """The same step: Muon has another argument for vectors, Ftrl recomputes the weight."""
    assert defaults(keras.optimizers.Muon, "adam_weight_decay") == [0.004]
    muon = keras.optimizers.Muon(0.01, weight_decay=0.1)
    assert in_keras(muon, [0.0], (), 1.0) == pytest.approx(0.99996, abs=1e-9)
    muon = keras.optimizers.Muon(0.01, adam_weight_decay=0.1)
    assert in_keras(muon, [0.0], (), 1.0) == pytest.approx(0.999, abs=1e-9)
    for decay in (None, 0.1):
        ftrl = keras.optimizers.Ftrl(0.01, weight_decay=decay)
        assert in_keras(ftrl, [0.0], (), 1.0) == 0


def test_adamw_defaults() -> None:
    assert defaults(torch.optim.AdamW, "lr", "weight_decay", "eps") == [0.001, 0.01, 1e-8]
    names = ("learning_rate", "weight_decay", "epsilon")
    assert defaults(keras.optimizers.AdamW, *names) == [0.001, 0.004, 1e-7]


def test_an_l2_regularizer_is_twice_the_weight_decay() -> None:
    """At strength 0.25 and weight 3, the added gradient is 1.5 in Keras and 0.75 in torch."""
    weight = tf.Variable([3.0], dtype=tf.float64)
    with tf.GradientTape() as tape:
        penalty = keras.regularizers.L2(0.25)(weight)
    assert float(tape.gradient(penalty, weight)[0]) == 1.5
    moved = 3.0 - in_torch(lambda w: torch.optim.SGD(w, 1.0, weight_decay=0.25), [0.0], (), 3.0)
    assert moved == 0.75


def test_an_l1_regularizer_is_part_of_the_loss_that_keras_reports() -> None:
    """At strength 0.25, weight 3 and an error of 0."""
    options: Any = {"use_bias": False, "kernel_initializer": keras.initializers.Constant(3.0)}
    layer = keras.layers.Dense(1, kernel_regularizer=keras.regularizers.L1(0.25), **options)
    model = keras.Sequential([keras.Input((1,)), layer])
    model.compile(keras.optimizers.SGD(1.0), "mse")
    zero = np.zeros((1, 1))
    assert float(model.evaluate(zero, zero, verbose=0)) == 0.75
    assert float(model.train_on_batch(zero, zero)) == 0.75
    assert float(layer.kernel[0, 0]) == 2.75
    assert "l1" not in inspect.signature(torch.optim.SGD).parameters


def test_keras_rounds_numbers_to_single_precision() -> None:
    """Everything is float64, with numbers that are not exact in float32."""
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    error = abs(in_keras(optimizer, [1.0, 1.0]) + 0.29)
    assert error == pytest.approx(2.4e-9, rel=0.05)  # 0.9 is rounded
    assert abs(in_torch(lambda w: torch.optim.SGD(w, 0.1, momentum=0.9), [1.0, 1.0]) + 0.29) < 1e-15
    exact = in_keras(keras.optimizers.SGD(0.1, momentum=0.875), [1.0, 1.0])
    assert exact == pytest.approx(-0.2875, abs=1e-15)
    penalty = float(keras.regularizers.L2(0.1)(np.array([3.0])))
    assert abs(penalty - 0.9) == pytest.approx(1.34e-8, rel=0.01)
    scale = float(keras.ops.cast(2**-0.5, "float64"))
    assert abs(scale - 2**-0.5) == pytest.approx(1.21e-8, rel=0.01)
    x = np.linspace(-3, 3, 13)
    exact_gelu = torch.nn.functional.gelu(torch.tensor(x)).numpy()
    gelu = np.asarray(keras.activations.gelu(keras.ops.convert_to_tensor(x)))
    assert abs(gelu - exact_gelu).max() == pytest.approx(5.0e-9, rel=0.02)


def embedding_steps(tokens: Sequence[Sequence[int]], dense: bool) -> float:
    """Return row 0 of a table of ones (2, 1) after a step of Adam for each list of tokens."""
    optimizer = keras.optimizers.Adam(0.1)
    layer = keras.layers.Embedding(2, 1, embeddings_initializer="ones")
    layer.build((1,))
    (table,) = layer.trainable_variables
    for ids in tokens:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(tf.constant(ids)))
        gradient = tape.gradient(loss, table.value)
        assert isinstance(gradient, tf.IndexedSlices)
        optimizer.apply([tf.convert_to_tensor(gradient) if dense else gradient], [table])
    return float(np.asarray(table)[0, 0])


def torch_embedding_steps(tokens: Sequence[Sequence[int]], sparse: bool = False) -> list[float]:
    """Return row 0 of the same table after each step of Adam, or of SparseAdam."""
    embedding = torch.nn.Embedding.from_pretrained(torch.ones(2, 1), freeze=False, sparse=sparse)
    kind: Any = torch.optim.SparseAdam if sparse else torch.optim.Adam
    optimizer, rows = kind(embedding.parameters(), lr=0.1), []
    for ids in tokens:
        optimizer.zero_grad()
        embedding(torch.tensor(ids)).sum().backward()
        optimizer.step()
        rows.append(embedding.weight[0].item())
    return rows


def test_adam_and_a_token_that_occurs_twice() -> None:
    """Adam's first step is the learning rate for any gradient; Keras squares row by row."""
    repeated, single = [[0, 0]], [[0]]
    assert 1 - embedding_steps(single, dense=False) == pytest.approx(0.1, abs=1e-5)
    assert 1 - embedding_steps(repeated, dense=False) == pytest.approx(0.1414, abs=5e-5)
    assert 1 - embedding_steps(repeated, dense=True) == pytest.approx(0.1, abs=1e-5)
    table = keras.layers.Embedding(2, 1, embeddings_initializer="ones")
    model = keras.Sequential([table])
    model.compile(keras.optimizers.Adam(0.1), lambda _, y: keras.ops.sum(y), run_eagerly=True)
    model.train_on_batch(np.array(repeated), np.zeros((1, 2, 1)))
    assert 1 - float(np.asarray(table.embeddings)[0, 0]) == pytest.approx(0.1414, abs=5e-5)
    assert 1 - torch_embedding_steps(repeated)[0] == pytest.approx(0.1, abs=1e-5)


def test_adam_moves_the_rows_of_absent_tokens() -> None:
    """Token 0 occurs in the first step only; at a learning rate of 0.1, the second moves its row, too."""
    first, second = (embedding_steps(tokens, dense=False) for tokens in ([[0]], [[0], [1]]))
    assert first - second == pytest.approx(0.067, abs=5e-4)
    assert embedding_steps([[0], [1]], dense=True) == pytest.approx(second)


def test_sparse_adam_leaves_the_rows_of_absent_tokens() -> None:
    first, second = torch_embedding_steps([[0], [1]])
    assert first - second == pytest.approx(0.067, abs=5e-4)
    first, second = torch_embedding_steps([[0], [1]], sparse=True)
    assert first - second == 0


def test_clipnorm_is_per_weight_in_keras() -> None:
    """Gradients 3 and 4, with a total norm of 5, clipped to norm 1."""
    weights = [torch.zeros(1, requires_grad=True) for _ in range(2)]
    for weight, gradient in zip(weights, (3.0, 4.0), strict=True):
        weight.grad = torch.tensor([gradient])
    torch.nn.utils.clip_grad_norm_(weights, 1.0)
    assert [float(w.grad) for w in weights if w.grad is not None] == pytest.approx([0.6, 0.8])

    def clipped(**keywords: float) -> list[float]:
        variables = [keras.Variable(np.zeros(1)) for _ in range(2)]
        gradients = [keras.ops.convert_to_tensor(np.array([g])) for g in (3.0, 4.0)]
        keras.optimizers.SGD(1.0, **keywords).apply(gradients, variables)
        return [-float(v[0]) for v in variables]

    assert clipped(clipnorm=1.0) == pytest.approx([1.0, 1.0])
    assert clipped(global_clipnorm=1.0) == pytest.approx([0.6, 0.8])
