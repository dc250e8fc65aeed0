"""The log-count ratios of naive Bayes, from the training set (Wang and Manning 2012)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.data.examples import Examples
from shared.data.sequences import PAD

Ids = NDArray[np.int64]
AT_ONCE = 250  # texts


def words_and_pairs(ids: Ids, tokens: int, buckets: int) -> Ids:
    """Return the rows of the T words, then of the T - 1 pairs, (N, 2 T - 1)."""
    pairs = tokens + (ids[:, :-1] * 31_337 + ids[:, 1:]) % buckets
    return np.concatenate([ids, pairs], axis=1)


def first_occurrences(rows: Ids, ids: Ids) -> NDArray[np.bool_]:
    """Return where a row occurs in its text for the first time, and is not that of padding, (N, 2 T - 1)."""
    valid = np.where(np.concatenate([ids != PAD, ids[:, 1:] != PAD], axis=1), rows, PAD)
    order = valid.argsort(axis=1, kind="stable")
    rising = np.take_along_axis(valid, order, axis=1)
    is_first = np.empty_like(rising, dtype=bool)
    np.put_along_axis(is_first, order, np.diff(rising, axis=1, prepend=PAD) != 0, axis=1)
    return is_first


def log_count_ratios(examples: Examples, tokens: int, buckets: int, outputs: int) -> NDArray[np.float64]:
    """Return r = log((p / |p|) / (q / |q|)) for every row and output, (tokens + buckets, outputs).

    p and q are one more than the number of training texts with and without the class that have the word or
    pair. A single output belongs to the second of two classes.

    Args:
        examples: inputs with ids (N, T), and labels.
        tokens: size of the vocabulary.
        buckets: number of rows that the pairs share.
        outputs: number of logits.
    """
    counts: Any = np.ones((max(2, outputs), tokens + buckets))
    for start in range(0, len(examples), AT_ONCE):
        batch = examples.take(slice(start, start + AT_ONCE))
        rows = words_and_pairs(batch.inputs, tokens, buckets)
        text, place = first_occurrences(rows, batch.inputs).nonzero()
        np.add.at(counts, (batch.labels[text], rows[text, place]), 1)
    with_class = counts[-outputs:]
    without = counts.sum(axis=0) - len(counts) + 2 - with_class  # one is added once
    shares = [each / each.sum(axis=1, keepdims=True) for each in (with_class, without)]
    return np.ascontiguousarray(np.log(shares[0] / shares[1]).T)
