"""A convolution and the max pooling after it, with a backward pass that leaves zeros out."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from shared.config import Pooling
from shared.native import conv_pool
from shared.native.library import library
from shared.runs.environment import available_cores

DTYPES = (tf.float32, tf.bfloat16)


class ConvMaxPool2D(keras.layers.Conv2D):
    """keras.layers.Conv2D without padding, in steps of one, and MaxPooling2D(2) after it.

    x (N, H, W, C) to (N, H' // 2, W' // 2, K).

    Args:
        filters: K.
        kernel_size: of the convolution.
        pooling: how the gradients are computed that training asks for: "sparse" by
            shared/native/conv_pool.c, not in float64; "plain" by TensorFlow.
    """

    def __init__(self, filters: int, kernel_size: int, pooling: Pooling, **options: Any) -> None:
        super().__init__(filters, kernel_size, **options)
        self.pooling = pooling
        plain = self.padding == "valid" and self.activation is keras.activations.linear
        if not plain or (*self.strides, *self.dilation_rate, self.groups) != (1,) * 5:
            raise ValueError("expected a convolution without padding, steps, groups and activation")

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Return the maxima of the convolution's 2x2 windows."""
        if not training or self.pooling != "sparse" or x.dtype not in DTYPES:
            return tf.nn.max_pool2d(super().call(x), 2, 2, "VALID")
        library()  # while the graph is made: what it raises would come out of it as another error
        kernel = tf.cast(self.kernel, x.dtype)
        maxima = tf.transpose(conv_max_pool(x, kernel), [0, 2, 3, 1])
        # The maximum of sums with the same number is the sum with the maximum.
        return maxima + tf.cast(self.bias, x.dtype) if self.use_bias else maxima

    def get_config(self) -> dict[str, Any]:
        """Return what such a layer is made with."""
        return {**super().get_config(), "pooling": self.pooling}

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        """Return the shape of what `call` returns."""
        images, height, width, filters = super().compute_output_shape(input_shape)
        return images, height // 2, width // 2, filters


@tf.custom_gradient
def conv_max_pool(
    x: tf.Tensor, kernel: tf.Tensor
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]]:
    """Return the maxima (N, K, P, Q) of the convolution's 2x2 windows, and their gradient."""
    threads = tf.config.threading.get_intra_op_parallelism_threads() or available_cores()
    y = tf.nn.conv2d(x, kernel, 1, "VALID")
    _, height, width, filters = y.shape
    maxima, where = tf.numpy_function(
        lambda y: conv_pool.max_pool(y, threads), [bits(y)], [bits(y).dtype, tf.uint8], False
    )

    def backward(x: Any, kernel: Any, dy: Any, where: Any) -> tuple[Any, Any]:
        weight = np.ascontiguousarray(kernel.transpose(3, 0, 1, 2))
        dx, dw, _ = conv_pool.gradients(x, weight, dy, where, threads)
        return dx, dw.transpose(1, 2, 3, 0)

    def gradient(dy: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        given = [bits(x), tf.cast(kernel, tf.float32), bits(dy), where]
        dx, dw = tf.numpy_function(backward, given, [bits(x).dtype, tf.float32], False)
        shaped = tf.ensure_shape(dw, kernel.shape)
        return tf.ensure_shape(values(dx, x.dtype), x.shape), tf.cast(shaped, kernel.dtype)

    return tf.ensure_shape(values(maxima, y.dtype), [None, filters, height // 2, width // 2]), gradient


def bits(numbers: tf.Tensor) -> tf.Tensor:
    """Return the bits of bfloat16, which NumPy does not know; anything else as it is."""
    return tf.bitcast(numbers, tf.uint16) if numbers.dtype == tf.bfloat16 else numbers


def values(numbers: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Return what `bits` has made of numbers of that dtype."""
    return tf.bitcast(numbers, dtype) if dtype == tf.bfloat16 else numbers
