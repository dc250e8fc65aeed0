"""A convolution followed by max pooling, with a backward pass that skips zero gradients."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from shared.config import Pooling
from shared.distributed import available_cores
from shared.training import conv_pool

DTYPES = (tf.float32, tf.bfloat16)


class ConvMaxPool2D(keras.layers.Conv2D):
    """keras.layers.Conv2D without padding, stride 1, followed by MaxPooling2D(2).

    x (N, H, W, C) to (N, H' // 2, W' // 2, K).

    Args:
        filters: K.
        kernel_size: size of the kernel.
        pooling: "sparse" computes the gradients of training with conv_pool.c, in float32 or bfloat16;
            everything else is computed by TensorFlow.
    """

    def __init__(self, filters: int, kernel_size: int, pooling: Pooling, **options: Any) -> None:
        super().__init__(filters, kernel_size, **options)
        self.pooling = pooling
        plain = self.padding == "valid" and self.activation is keras.activations.linear
        if not plain or (*self.strides, *self.dilation_rate, self.groups) != (1,) * 5:
            raise ValueError("expected a convolution without padding, strides, groups and activation")

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Return the maxima of the convolution's 2x2 windows."""
        if not training or self.pooling != "sparse" or x.dtype not in DTYPES:
            return tf.nn.max_pool2d(super().call(x), 2, 2, "VALID")
        conv_pool.library()  # before the graph is traced, which would change the type of its error
        # tf.custom_gradient takes no None; nobody reads the gradient of these zeros.
        bias = tf.cast(self.bias, x.dtype) if self.use_bias else tf.zeros(self.filters, x.dtype)
        return conv_max_pool(x, tf.cast(self.kernel, x.dtype), bias)

    def keras_layer(self) -> keras.Layer:
        """Return Keras's own layers, for a file that loads without this one."""
        layers = [keras.layers.Conv2D.from_config(super().get_config()), keras.layers.MaxPooling2D(2)]
        return keras.Sequential(layers, name=self.name)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the layer."""
        return {**super().get_config(), "pooling": self.pooling}

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        """Return the shape of the output."""
        images, height, width, filters = super().compute_output_shape(input_shape)
        return images, height // 2, width // 2, filters


@tf.custom_gradient
def conv_max_pool(
    x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, ...]]]:
    """Return the maxima (N, P, Q, K) of the convolution's 2x2 windows, and their gradient."""
    threads = tf.config.threading.get_intra_op_parallelism_threads() or available_cores()
    y = tf.nn.bias_add(tf.nn.conv2d(x, kernel, 1, "VALID"), bias)
    _, height, width, filters = y.shape
    maxima, where = tf.numpy_function(
        lambda y: conv_pool.max_pool(y, threads, channels_last=True),
        [to_bits(y)],
        [to_bits(y).dtype, tf.uint8],
        stateful=False,
    )

    def backward(x: Any, kernel: Any, dy: Any, where: Any) -> tuple[Any, ...]:
        weight = np.ascontiguousarray(kernel.transpose(3, 0, 1, 2))
        dx, dw, db = conv_pool.gradients(x, weight, dy, where, threads, channels_last=True)
        return dx, dw.transpose(1, 2, 3, 0), db

    def gradient(dy: tf.Tensor) -> tuple[tf.Tensor, ...]:
        given = [to_bits(x), tf.cast(kernel, tf.float32), to_bits(dy), where]
        dtypes = [to_bits(x).dtype, tf.float32, tf.float32]
        dx, dw, db = tf.numpy_function(backward, given, dtypes, stateful=False)
        dx, dw, db = from_bits(dx, x.dtype), tf.cast(dw, kernel.dtype), tf.cast(db, bias.dtype)
        pairs = zip((dx, dw, db), (x, kernel, bias), strict=True)
        return tuple(tf.ensure_shape(gradient, operand.shape) for gradient, operand in pairs)

    return tf.ensure_shape(from_bits(maxima, y.dtype), [None, height // 2, width // 2, filters]), gradient


def to_bits(numbers: tf.Tensor) -> tf.Tensor:
    """Return bfloat16 as its bits, because NumPy has no such type; anything else unchanged."""
    return tf.bitcast(numbers, tf.uint16) if numbers.dtype == tf.bfloat16 else numbers


def from_bits(numbers: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Return what `to_bits` was given."""
    return tf.bitcast(numbers, dtype) if dtype == tf.bfloat16 else numbers
