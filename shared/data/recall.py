"""Associative recall: key-value pairs, then one of the keys again: which value did it have?

    k07 v3  k51 v0  ...  k22 v3  k51     the label is v0

Each example pairs keys and values at random, so that nothing can be memorized. Half of the values
occur in it, equally often: without their order, the tokens allow only a guess among these, and a
network has to find the key that is asked for.

If all values occurred, the answer could be found by looking at all other pairs and taking the value
that is missing there. Networks learn that, and fail with more pairs.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shared.data.examples import Examples
from shared.data.sequences import PAD

TRAIN, TEST = 20_000, 5_000
SEED = 2017  # the year of Vaswani et al.


@dataclass(frozen=True, eq=False)
class RecallData:
    """The generated data set. An example of P pairs has 2 P + 1 ids: key, value, key, value, ..., and the
    key that is asked for. Its label is the index of that key's value.
    """

    train: Examples
    test: Examples  # of the same length
    longer: dict[int, Examples]  # more test examples, by number of pairs
    vocabulary: tuple[str, ...]  # the name of each id: padding, the keys, the values
    classes: tuple[str, ...]  # the names of the values
    name: str = "recall"
    source: str = "generated here"
    embedded: bool = False

    @property
    def vocabulary_file(self) -> bytes:
        """Return the vocabulary as UTF-8, one token per line: the first line is token 0."""
        return "\n".join(self.vocabulary).encode()

    @property
    def sha256(self) -> str:
        """Return the hexadecimal digest of vocabulary, ids and labels."""
        digest = hashlib.sha256(self.vocabulary_file)
        for pairs in (self.train, self.test, *self.longer.values()):
            digest.update(pairs.inputs.tobytes() + pairs.labels.tobytes())
        return digest.hexdigest()


def load(keys: int, values: int, pairs: int, longer: Sequence[int]) -> RecallData:
    """Return 20,000 training examples and 5,000 test examples of each length, always the same ones.

    Args:
        keys, values: numbers of different keys and values; the values are the classes.
        pairs: number of pairs in an example.
        longer: numbers of pairs in an example of each additional test set.
    """
    random = np.random.default_rng(SEED)
    train, test = (generate(count, keys, values, pairs, random) for count in (TRAIN, TEST))
    others = {length: generate(TEST, keys, values, length, random) for length in longer}
    width = len(str(max(keys, values) - 1))
    classes = tuple(f"v{number}" for number in range(values))
    names = tuple(f"k{number:0{width}}" for number in range(keys))
    return RecallData(train, test, others, ("<pad>", *names, *classes), classes)


def generate(count: int, keys: int, values: int, pairs: int, random: np.random.Generator) -> Examples:
    """Return `count` examples of `pairs` pairs.

    Ids: `PAD` is 0 and never occurs, keys are 1 to `keys`, values follow. Each key occurs at most once,
    half of the values occur equally often, and any key may be asked for. `pairs` is at most `keys` and a
    multiple of half of `values`, which is even.
    """
    rows = np.arange(count)
    chosen = random.permuted(np.tile(np.arange(keys), (count, 1)), axis=1)[:, :pairs]
    half = random.permuted(np.tile(np.arange(values), (count, 1)), axis=1)[:, : values // 2]
    paired = random.permuted(np.tile(half, (1, pairs // (values // 2))), axis=1)
    question = random.integers(0, pairs, count)
    ids = np.empty((count, 2 * pairs + 1), np.int64)
    ids[:, :-1:2] = PAD + 1 + chosen
    ids[:, 1::2] = PAD + 1 + keys + paired
    ids[:, -1] = ids[rows, 2 * question]
    return Examples(ids, paired[rows, question])
