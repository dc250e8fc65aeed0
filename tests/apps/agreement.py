"""Whether the networks of an application in torch, Keras and NumPy compute the same."""

from collections.abc import Callable, Collection, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import torch

from shared.data.examples import Examples
from shared.parity.weights import keras_state, torch_state, torch_to_keras, torch_to_numpy
from tests.helpers import take_steps

FRAMEWORKS = ["torch", "keras", "numpy"]
RELATIVE = 1e-9

Array = np.ndarray


class Networks(NamedTuple):
    """The same weights in three frameworks, in float64."""

    torch: Any
    keras: Any
    numpy: Any

    def logits(self) -> dict[str, Callable[[Array], Array]]:
        """Return for each framework the function from inputs to logits, in evaluation mode."""
        return {
            "torch": lambda inputs: self.torch.eval()(torch.from_numpy(inputs)).detach().numpy(),
            "keras": lambda inputs: np.asarray(self.keras(inputs, training=False)),
            "numpy": lambda inputs: self.numpy.eval().forward(inputs),
        }


def build_networks(modules: Sequence[ModuleType], config: Any, **sizes: Any) -> Networks:
    """Return the networks of torch_model, keras_model and numpy_model."""
    in_torch, in_keras, in_numpy = modules
    torch.manual_seed(0)
    networks = Networks(
        in_torch.build_model(config, **sizes).double(),
        in_keras.build_model(config, **sizes),
        in_numpy.build_model(config, np.float64, np.random.default_rng(0), **sizes),
    )
    torch_to_keras(networks.torch, networks.keras)
    torch_to_numpy(networks.torch, networks.numpy)
    return networks


def assert_close(actual: Any, expected: Any, what: str, relative: float = RELATIVE) -> None:
    """Assert equality relative to the largest expected number, which must not be 0."""
    expected = np.asarray(expected)
    largest = np.abs(expected).max()
    assert largest > 0, what
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=0, atol=relative * largest, err_msg=what)


def assert_same_gradients(
    networks: Networks,
    inputs: Array,
    upstream: Array,
    zero: Collection[str] = (),
    relative: float = RELATIVE,
    training: bool = True,
    zero_bound: float = 1e-14,
) -> None:
    """Compare logits and all gradients; those of the parameters `zero` are 0, up to `zero_bound`.

    `training` is the mode of Keras's network; the others are in that mode already.
    """
    logits = networks.torch(torch.from_numpy(inputs))
    logits.backward(torch.from_numpy(upstream))
    assert_close(networks.numpy.forward(inputs), logits.detach(), "NumPy", relative)
    networks.numpy.backward(upstream)
    with tf.GradientTape() as tape:
        of_keras = networks.keras(inputs, training=training)
    assert_close(of_keras, logits.detach(), "Keras", relative)
    variables = networks.keras.trainable_variables
    # To have torch's names, Keras's gradients are assigned to the weights and converted like them.
    for variable, gradient in zip(variables, tape.gradient(of_keras, variables, upstream), strict=True):
        variable.assign(tf.convert_to_tensor(gradient))
    by_name = keras_state(networks.keras, torch_state(networks.torch))
    for name, parameter in networks.torch.named_parameters():
        for gradients in (networks.numpy.grads, by_name) if parameter.requires_grad else ():
            if name in zero:
                np.testing.assert_allclose(gradients[name], 0, atol=zero_bound)
                np.testing.assert_allclose(parameter.grad, 0, atol=zero_bound)
            else:
                assert_close(gradients[name], parameter.grad, name, relative)


def assert_same_steps(
    learners: dict[str, Any], data: Examples, steps: Any = None, relative: float = 1e-8
) -> list[float]:
    """Compare losses, weights and their number after `steps`, ten by default; return torch's losses."""
    random, count = np.random.default_rng(1), len(data)
    steps = steps or [(random.permutation(count)[: count // 2], 0.01 / (1 + step)) for step in range(10)]
    torch_to_keras(learners["torch"].model, learners["keras"].model)
    torch_to_numpy(learners["torch"].model, learners["numpy"].model)
    before = torch_state(learners["torch"].model)
    losses = {
        name: [loss for loss, _ in take_steps(learner, data, steps)] for name, learner in learners.items()
    }
    assert len({learner.parameters for learner in learners.values()}) == 1
    expected = torch_state(learners["torch"].model)
    of_keras = keras_state(learners["keras"].model, expected)
    assert_close(losses["keras"], losses["torch"], "Keras's losses", relative / 10)
    assert_close(losses["numpy"], losses["torch"], "NumPy's losses", relative / 10)
    for name, value in learners["numpy"].weights().items():
        allowed = relative * max(np.abs(value).max(), 1e-12)
        np.testing.assert_allclose(expected[name], value, rtol=0, atol=allowed, err_msg=name)
        np.testing.assert_allclose(of_keras[name], value, rtol=0, atol=allowed, err_msg=name)
    for name, weight in learners["torch"].model.named_parameters():
        if weight.grad is not None and weight.grad.abs().max() > 1e-3:
            assert np.abs(expected[name] - before[name]).max() > 100 * relative, f"{name} has not moved"
    return [float(loss) for loss in losses["torch"]]
