"""Key-value pairs, then one of the keys again: which value belonged to it?

    k07 v3  k51 v0  ...  k22 v3  k51     the label is v0

Each example pairs keys and values anew, so that there is nothing to learn by heart. Half of the
values occur in it, drawn anew as well, each as often as the other: tokens without their order leave
a guess among these, and all that helps is to find the one key that was asked for.

Why only half: if all occurred, equally often, the value could be found by looking everywhere but at
its key and taking the one that is missed. Networks learn that, and do badly at longer examples.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.data.sequences import PAD

TRAIN, TEST = 20_000, 5_000
SEED = 2017  # the year of Vaswani et al.


@dataclass(frozen=True, eq=False)
class Pairs:
    """Examples of one length.

    Attributes:
        ids: int64 (N, 2 P + 1): key, value, key, value, ..., and the key that is asked for.
        labels: int64 (N,), the index of its value.
    """

    ids: NDArray[np.int64]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class RecallData:
    """The generated data set.

    Attributes:
        train: the examples to train with.
        test: other examples of the same length, to test with.
        longer: more of them to test with, by the number of pairs.
        vocabulary: the name of each id: padding, the keys, the values.
        classes: the names of the values.
    """

    train: Pairs
    test: Pairs
    longer: dict[int, Pairs]
    vocabulary: tuple[str, ...]
    classes: tuple[str, ...]
    name: str = "recall"
    source: str = "generated here"
    embedded: bool = False

    @property
    def sha256(self) -> str:
        """Return the digest of what the networks see."""
        digest = hashlib.sha256("\n".join(self.vocabulary).encode())
        for pairs in (self.train, self.test, *self.longer.values()):
            digest.update(pairs.ids.tobytes() + pairs.labels.tobytes())
        return digest.hexdigest()


def load(keys: int, values: int, pairs: int, longer: Sequence[int]) -> RecallData:
    """Return 20,000 examples to train with and 5,000 of each length to test with, always the same.

    Args:
        keys: how many keys there are.
        values: how many values there are: the number of classes.
        pairs: how many pairs an example has.
        longer: how many pairs the other tests have.

    Raises:
        ValueError: as `generate`.
    """
    random = np.random.default_rng(SEED)
    train = generate(TRAIN, keys, values, pairs, random)
    test = generate(TEST, keys, values, pairs, random)
    others = {length: generate(TEST, keys, values, length, random) for length in longer}
    width = len(str(max(keys, values) - 1))
    classes = tuple(f"v{number}" for number in range(values))
    names = tuple(f"k{number:0{width}}" for number in range(keys))
    return RecallData(train, test, others, ("<pad>", *names, *classes), classes)


def generate(count: int, keys: int, values: int, pairs: int, random: np.random.Generator) -> Pairs:
    """Return `count` examples of `pairs` pairs.

    Ids: `PAD` is 0 and never occurs, keys are 1 to `keys`, values follow. Of the keys, drawn
    evenly, each occurs once, of half of the values each equally often; any key may be asked for.

    Raises:
        ValueError: there are more pairs than keys, or values cannot occur equally often.
    """
    if pairs > keys:
        raise ValueError(f"{pairs} pairs need as many different keys, and there are {keys}")
    if values % 2 or pairs % (values // 2):
        raise ValueError(f"{pairs} pairs do not hold half of {values} values equally often")
    rows = np.arange(count)
    chosen = random.permuted(np.tile(np.arange(keys), (count, 1)), axis=1)[:, :pairs]
    half = random.permuted(np.tile(np.arange(values), (count, 1)), axis=1)[:, : values // 2]
    paired = random.permuted(np.tile(half, (1, pairs // (values // 2))), axis=1)
    asked = random.integers(0, pairs, count)
    ids = np.empty((count, 2 * pairs + 1), np.int64)
    ids[:, :-1:2] = PAD + 1 + chosen
    ids[:, 1::2] = PAD + 1 + keys + paired
    ids[:, -1] = ids[rows, 2 * asked]
    return Pairs(ids, paired[rows, asked])
