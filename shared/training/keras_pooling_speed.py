"""A forward and backward pass through convolution and max pooling, to measure (pooling_speed.py)."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from numpy.typing import NDArray

from shared.config import Pooling
from shared.training.keras_learner import set_threads
from shared.training.keras_pooling import ConvMaxPool2D


def build_step(
    pooling: Pooling, precision: str, kernel: int, x: NDArray[Any], dy: NDArray[Any]
) -> Callable[[], Any]:
    """Return the pass on one thread; x (N, H, W, C), dy (N, P, Q, K), float32."""
    set_threads(1)
    policy = "mixed_bfloat16" if precision == "bfloat16" else "float32"
    layer = ConvMaxPool2D(dy.shape[3], kernel, pooling, dtype=policy)
    layer.build(x.shape)
    images, upstream = tf.constant(x, layer.compute_dtype), tf.constant(dy, layer.compute_dtype)

    @tf.function(autograph=False)
    def step() -> Any:
        with tf.GradientTape() as tape:
            tape.watch(images)
            y = layer(images, training=True)
        return tape.gradient(y, [images, *layer.trainable_variables], upstream)

    return lambda: [gradient.numpy() for gradient in step()]
