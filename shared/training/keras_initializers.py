"""torch's default initial weights in Keras."""

import math
from typing import Any

import keras


def torch_initializers(fan_in: int, bias: bool = True) -> dict[str, Any]:
    """Return arguments with which a Keras layer draws its weights as torch's layers do.

    Weight and bias are uniform between -1/sqrt(fan_in) and 1/sqrt(fan_in) (torch.nn.Linear and
    torch.nn._ConvNd, `reset_parameters`); Keras's defaults are Glorot's range and zero biases. `fan_in` is
    the number of inputs that an output sums over.
    """
    bound = 1 / math.sqrt(fan_in)
    return {
        "use_bias": bias,
        "kernel_initializer": keras.initializers.RandomUniform(-bound, bound),
        "bias_initializer": keras.initializers.RandomUniform(-bound, bound),
    }
