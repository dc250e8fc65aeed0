"""Generated film reviews for machines without IMDB: only the order of words tells their class.

Each has two opposite judgments, and the phrase before each says which one counts: "in the end" or
"at first", "i say" or "they say", in either order. Positive and negative reviews have the same words
and pairs of words with the same frequencies, so a bag of words can only guess: connecting a judgment
with its phrase takes a memory of several words.
"""

import numpy as np

from shared.data import text
from shared.data.text import Encoding, TextData

TRAIN, TEST = 25_000, 5_000
SEED = 20110619  # the first day of the conference where IMDB was published
CLASSES = ("neg", "pos")

GOOD = ("good", "great", "wonderful", "brilliant", "touching", "funny", "superb", "charming")
BAD = ("bad", "awful", "terrible", "dull", "boring", "silly", "poor", "annoying")
THINGS = (
    *("the film", "the plot", "the acting", "the music", "the ending", "the script"),
    *("the cast", "the camera", "the dialogue", "the story", "the director", "the first half"),
)
FILLERS = (
    *("in the least", "by any means", "at any moment", "in my opinion"),
    *("as others say", "however you look at it", "if you ask me", "for a minute"),
)
NEUTRAL = (
    "i saw it last week with my brother .",
    "it runs for two hours .",
    "there is a sequel .",
    "it was shot in canada .",
    "the theatre was half full .",
    "my sister came along .",
    "it is based on a book .",
    "they show a train , a lake and a dog .",
)

# Phrases before the judgment that counts, and before the other one.
CUES = (
    ("in the end", "at first"),
    ("i say", "they say"),
    ("in truth", "in the trailer"),
    ("for me", "for my brother"),
    ("now that i saw it", "before i saw it"),
    ("in the cinema", "on paper"),
)


def load(settings: Encoding) -> TextData:
    """Return 25,000 generated training reviews and 5,000 test reviews, the same every time."""
    random = np.random.default_rng(SEED)
    texts, labels = zip(*(generate(count, random) for count in (TRAIN, TEST)), strict=True)
    encoded = text.encode(texts, labels, settings)
    return TextData("reviews", *encoded, CLASSES, embedded=True, source="generated here")


def generate(count: int, random: np.random.Generator) -> tuple[list[str], list[int]]:
    """Return `count` reviews and their labels (0: negative, 1: positive), half of each."""
    labels = random.permutation(np.arange(count) % 2)
    sizes = [len(choices) for choices in (CUES, GOOD, BAD, NEUTRAL, NEUTRAL)]
    picks = random.integers(0, sizes, (count, len(sizes)))
    parts = random.integers(0, [len(THINGS), len(FILLERS), 2], (count, 2, 3))
    order = random.integers(0, 2, count)
    texts = []
    for number, label in enumerate(labels):
        pair, good, bad, before, after = picks[number]
        right, wrong = (GOOD[good], BAD[bad]) if label else (BAD[bad], GOOD[good])
        judgments = [
            f"{cue} {THINGS[thing] if long else 'it'} was {adjective} , {FILLERS[filler]} ."
            for cue, adjective, (thing, filler, long) in zip(
                CUES[pair], (right, wrong), parts[number], strict=True
            )
        ]
        if order[number]:
            judgments.reverse()
        texts.append(" ".join([NEUTRAL[before], *judgments, NEUTRAL[after]]))
    return texts, labels.tolist()
