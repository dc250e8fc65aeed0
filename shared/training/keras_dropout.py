"""Dropout in Keras, faster than Keras's own."""

from typing import Any

import keras
import tensorflow as tf

LEVELS = 256  # values of a byte


class ByteDropout(keras.layers.Layer):
    """Dropout (Srivastava et al. 2014, section 4) that spends a byte of randomness on each value.

    Like `ByteDropout` in torch_dropout.py. In bfloat16 the factor 1 / (1 - p) is rounded, as it is
    in Keras's own layer.

    Args:
        p: probability of a zero, 0 <= p < 1, rounded to a multiple of 1/256.
    """

    def __init__(self, p: float, **options: Any) -> None:
        super().__init__(**options)
        self.p = p
        self.zeros = min(round(p * LEVELS), LEVELS - 1)  # of 256 bytes
        self.seed_generator = keras.random.SeedGenerator()

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Return x with zeros in training, and x itself in evaluation."""
        if not training or self.zeros == 0:
            return x
        seed = tf.cast(self.seed_generator.next(), tf.int32)
        count = tf.size(x)
        words = tf.random.stateless_uniform([(count + 7) // 8], seed, None, None, tf.int64)
        drawn = tf.reshape(tf.reshape(tf.bitcast(words, tf.uint8), [-1])[:count], tf.shape(x))
        kept = tf.cast(drawn >= self.zeros, x.dtype)
        return x * kept * tf.cast(LEVELS / (LEVELS - self.zeros), x.dtype)

    def keras_layer(self) -> keras.Layer:
        """Return Keras's own layer, for a file that loads without this one."""
        return keras.layers.Dropout(self.p, name=self.name)
