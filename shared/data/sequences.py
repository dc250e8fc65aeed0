"""Documents as token ids, and batches of them padded to one length."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

PAD, UNKNOWN = 0, 1  # ids; no token of a document is PAD

POOL = 50  # batches that are sorted by length together


@dataclass(frozen=True, eq=False)
class Documents:
    """Documents as ids, one after the other, and their labels."""

    ids: NDArray[Any]  # uint16 or int32 (M,), without `PAD`
    offsets: NDArray[np.int64]  # (N + 1,); document n is ids[offsets[n]:offsets[n + 1]], never empty
    labels: NDArray[np.int64]  # (N,), indices into the classes of the data set

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Return the number of tokens of each document, (N,)."""
        return np.diff(self.offsets)

    def take(self, which: NDArray[np.int64]) -> "Documents":
        """Return the documents at the positions `which`, in that order."""
        chosen = [self.ids[:0], *(self.ids[self.offsets[n] : self.offsets[n + 1]] for n in which)]
        offsets = np.concatenate([[0], np.cumsum(self.lengths[which])])
        return Documents(np.concatenate(chosen), offsets, self.labels[which])


class Sequences:
    """Documents as inputs of a network: indexing returns a batch padded to one length.

    Indexing with positions (n,) or a slice returns int64 (n, T), where T is the length of the
    longest of these documents, at most `longest`. Of a longer document only the last words are
    used, where most reviews come to their verdict, or the first. `PAD` fills up on the right.

    Attributes:
        lengths: number of words used of each document, int64 (N,).
        starts: where they begin in `documents.ids`, int64 (N,).
    """

    def __init__(self, documents: Documents, longest: int, keep: Literal["first", "last"] = "last") -> None:
        self.documents = documents
        self.lengths = np.minimum(documents.lengths, longest)
        self.starts = documents.offsets[:-1]
        if keep == "last":
            self.starts = documents.offsets[1:] - self.lengths

    def __len__(self) -> int:
        return len(self.documents)

    def __getitem__(self, which: NDArray[np.int64] | slice) -> NDArray[np.int64]:
        lengths = self.lengths[which]
        steps = np.arange(lengths.max(initial=0))
        mask = steps < lengths[:, None]
        padded = np.full(mask.shape, PAD, np.int64)
        padded[mask] = self.documents.ids[(self.starts[which][:, None] + steps)[mask]]
        return padded


def pad_front(documents: Documents, longest: int, keep: Literal["first", "last"], pad_id: int) -> Documents:
    """Return documents of `longest` tokens: longer ones are cut, shorter ones are padded at the front.

    The ids keep their dtype, or become int32 if it cannot hold `pad_id`.
    """
    sequences = Sequences(documents, longest, keep)
    padded, lengths = sequences[:], sequences.lengths[:, None]
    fits = pad_id <= np.iinfo(documents.ids.dtype).max
    filled = np.full((len(documents), longest), pad_id, documents.ids.dtype if fits else np.int32)
    filled[np.arange(longest) >= longest - lengths] = padded[np.arange(padded.shape[1]) < lengths]
    return Documents(filled.ravel(), longest * np.arange(len(documents) + 1), documents.labels)


def batches_by_length(
    lengths: NDArray[np.int64], batch_size: int, seed: int, epoch: int
) -> list[NDArray[np.int64]]:
    """Return the shuffled batches of an epoch, each with texts of similar length to save padding.

    Like `shuffled_batches`, but the examples are sorted by length within each pool of `POOL`
    batches, and the batches are shuffled afterwards. The smaller batch may come anywhere.
    """
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(lengths))
    batches = []
    for start in range(0, len(order), POOL * batch_size):
        pool = order[start : start + POOL * batch_size]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        batches += [pool[first : first + batch_size] for first in range(0, len(pool), batch_size)]
    return [batches[number] for number in random.permutation(len(batches))]
