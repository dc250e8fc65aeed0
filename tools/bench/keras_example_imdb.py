"""The usual Keras example of an LSTM on IMDB, which tools/bench/imdb.py runs.

Written from its description: the 10,000 most frequent words, the last 200 words of a review padded
with zeros in front, embedding 128, LSTM 64 with dropout 0.2 on inputs and state, one sigmoid, Adam,
batches of 32, a fifth of the reviews for validation, five epochs. Prints a line of JSON after each
epoch: seconds of training so far, accuracy on the test set.
"""

import contextlib
import json
import sys
import time
from pathlib import Path

import shared.training.keras_quiet  # noqa: F401  (before Keras is imported)

# isort: split
import keras
import numpy as np
from keras import layers

from shared.data import imdb
from shared.data.sequences import Documents
from shared.data.text import Settings
from shared.distributed import available_cores
from shared.training.keras_learner import set_threads

WORDS, LONGEST, EPOCHS = 10_000, 200, 5


def pad(documents: Documents) -> np.ndarray:
    """Return the last words of each document, padded with zeros in front, (N, 200)."""
    each = np.split(documents.ids, documents.offsets[1:-1])
    return keras.utils.pad_sequences(each, LONGEST, dtype="int64")


def main(root: str, seed: str) -> None:
    """Train for five epochs and score the test set after each, outside of the measured time."""
    set_threads(available_cores())
    keras.utils.set_random_seed(int(seed))
    settings = Settings(vocabulary_size=WORDS - 2, min_frequency=1)
    with contextlib.redirect_stdout(sys.stderr):  # the output is JSON
        texts = imdb.load(Path(root), settings, fallback=None)
    order = np.random.default_rng(0).permutation(len(texts.train))  # as in Keras's copy
    x, y = pad(texts.train)[order], texts.train.labels[order]
    model = keras.Sequential(
        [
            layers.Embedding(WORDS, 128),
            layers.LSTM(64, dropout=0.2, recurrent_dropout=0.2),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"])
    seconds = 0.0
    held_back = len(x) // 5
    for _ in range(EPOCHS):
        start = time.perf_counter()
        model.fit(
            x[:-held_back],
            y[:-held_back],
            batch_size=32,
            verbose=0,
            validation_data=(x[-held_back:], y[-held_back:]),
        )
        seconds += time.perf_counter() - start
        _, accuracy = model.evaluate(pad(texts.test), texts.test.labels, 250, verbose=0)
        print(json.dumps({"seconds": seconds, "accuracy": accuracy}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
