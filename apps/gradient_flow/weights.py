"""The initial weights of the networks, drawn once for all frameworks."""

import numpy as np

from apps.gradient_flow.networks import Array, Network, Recurrent, Weights
from apps.gradient_flow.numpy_model import build_model

INITIALIZATIONS = ("normal", "Glorot", "He", "orthogonal")


def initial_weights(
    network: Network, initialization: str, deviation: float, rng: np.random.Generator
) -> Weights:
    """Return weights: matrices by `initialization`, biases 0, the scale of batch normalization 1."""
    weights = build_model(network).params
    for name, weight in weights.items():
        if weight.ndim == 2:
            weight[...] = matrix(weight.shape, initialization, deviation, rng)
        else:
            weight[...] = 1.0 if name.startswith("norm") and name.endswith("weight") else 0.0
    return weights


def matrix(shape: tuple[int, ...], initialization: str, deviation: float, rng: np.random.Generator) -> Array:
    """Return a random weight matrix (outputs, inputs).

    normal: N(0, deviation^2).
    Glorot: N(0, 2 / (inputs + outputs)) (Glorot and Bengio 2010, equation 12).
    He: N(0, 2 / inputs) (He et al. 2015, arXiv:1502.01852, equation 10).
    orthogonal: orthonormal rows, or columns if there are fewer of them (Saxe et al. 2014,
    arXiv:1312.6120, section 3); the signs make the distribution uniform (Mezzadri 2007).
    """
    outputs, inputs = shape
    random = rng.standard_normal(shape)
    deviations = {"normal": deviation, "Glorot": (2 / (inputs + outputs)) ** 0.5, "He": (2 / inputs) ** 0.5}
    if initialization in deviations:
        return np.asarray(deviations[initialization] * random)
    q, r = np.linalg.qr(random if outputs >= inputs else random.T)
    q = q * np.sign(np.diag(r))
    return np.ascontiguousarray(q if outputs >= inputs else q.T)


def recurrent_weights(
    network: Recurrent, rng: np.random.Generator, forget_bias: float = 0.0, gain: float | None = None
) -> Weights:
    """Return weights from U(-1/sqrt(hidden), 1/sqrt(hidden)), PyTorch's range; biases 0.

    `forget_bias` is that of the forget gate of an LSTM (Gers et al. 2000, section 4). With `gain`, the
    recurrent weights are `gain` times an orthogonal matrix.
    """
    bound = network.hidden**-0.5
    weights = build_model(network).params
    for weight in weights.values():
        weight[...] = rng.uniform(-bound, bound, weight.shape) if weight.ndim == 2 else 0.0
    if gain is not None:
        square = (network.hidden, network.hidden)
        weights["cell.weight_hh_l0"] = gain * matrix(square, "orthogonal", 1.0, rng)
    if forget_bias:  # the order of the gates is i, f, g, o
        weights["cell.bias_ih_l0"][network.hidden : 2 * network.hidden] = forget_bias
    return weights
