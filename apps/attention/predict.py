"""What a trained network says of what is given, and where it looked.

    python -m apps.attention.predict RUN "k07 v3 k51 v0 k07" ...
    python -m apps.attention.predict RUN "the text" ...

Of a run on `recall` it is pairs of a key and a value and the key that is asked for: prints the
answer and the pairs with the largest weights. Of a run on texts it is a text (`-`: from the
standard input): prints the probability of each class and the words with the largest weights. The
picture is RUN/predictions/prediction.png (--out FOLDER: there).
"""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from apps.attention.config import Config
from apps.attention.evaluate import APPLICATION
from apps.attention.train import network_of
from shared.config import Texts
from shared.data.recall import RecallData
from shared.data.sequences import UNKNOWN
from shared.data.text import tokenizer
from shared.data.text_sets import known_words
from shared.errors import ConfigError
from shared.runs.reader import read_config
from shared.training.losses import class_probabilities
from tools.evaluate import Finished, restored
from tools.predict import Answer, Question, main

SHOWN = 8  # words or pairs that are printed


def opened(folder: Path) -> Callable[[str], Answer]:
    """Return what answers with the network of the run in `folder`.

    Raises:
        ConfigError: there is no finished run of this application.
        DataError: data or weights are missing, damaged, or not what they were.
    """
    config = read_config(folder, Config)
    if config.data.name != "recall":
        tokenizer()  # imports torch, which cannot be after Keras (shared/parity/__init__.py)
    run = restored(APPLICATION, folder, config)
    return partial(looked_up if isinstance(run.data, RecallData) else weighed, run)


def looked_up(run: Finished[Config], text: str) -> Answer:
    """Return the value of the key that is asked for, and where each head looked.

    Raises:
        ConfigError: these are no pairs and a key of them.
    """
    from apps.attention import pictures  # matplotlib takes a second to import

    names = text.split()
    ids = ids_of_pairs(names, run.data)
    probabilities, weights = asked(run, ids)
    best = int(probabilities.argmax())
    said = f"{names[-1]}? {run.data.classes[best]}, probability {probabilities[best]:.1%}"
    pairs = [" ".join(names[n : n + 2]) for n in range(0, len(names) - 1, 2)]
    lines, rows = [said], []
    for head, row in enumerate(weights):
        rows.append(f"head {head + 1}" if len(weights) > 1 else "weight")
        lines.append(f"{rows[-1]}: {heaviest(pairs, row)}")
    where = names[:-1:2].index(names[-1])
    drawn = pictures.heat_maps(
        [pictures.HeatMap(weights, rows, pairs, "", [where] * len(rows))],
        said,
        "pair of key and value; outlined: the pair that holds the answer",
        "",
        1,
        side_by_side=False,
    )
    return Answer("\n".join(lines), drawn)


def ids_of_pairs(names: Sequence[str], data: RecallData) -> NDArray[np.int64]:
    """Return the ids of key, value, key, value, ..., and the key that is asked for, (T,).

    Raises:
        ConfigError: they are something else, a key stands there twice, or the one that is asked
            for is not among them.
    """
    values = data.classes
    keys = data.vocabulary[1 : -len(values)]  # without padding
    form = f"give {keys[0]} {values[1]} {keys[1]} {values[0]} ... and one of the keys again"
    for place, name in enumerate(names):
        known = values if place % 2 else keys
        if name not in known:
            kind = "value" if place % 2 else "key"
            raise ConfigError(f"{name!r} is no {kind}: there are {known[0]} to {known[-1]}; {form}")
    given = names[:-1:2]
    if len(names) % 2 == 0 or len(names) < 3:
        raise ConfigError(f"these are no pairs and a key: {form}")
    if len(set(given)) < len(given):
        raise ConfigError("a key stands in two pairs: there is no one answer")
    if names[-1] not in given:
        raise ConfigError(f"{names[-1]} is in none of the pairs: there is no answer")
    return np.array([data.vocabulary.index(name) for name in names], np.int64)


def weighed(run: Finished[Config], text: str) -> Answer:
    """Return the probability of each class, and how much each word weighed.

    With several heads it is the mean of their weights.

    Raises:
        ConfigError: the text has no words, or none that the network knows.
    """
    from shared import charts  # matplotlib takes a second to import

    data = run.config.data
    assert isinstance(data, Texts)
    words, ids = known_words(text, run.data.vocabulary, data)
    probabilities, by_head = asked(run, ids)
    weights, classes = by_head.mean(axis=0), run.data.classes
    order = np.argsort(-probabilities)
    lines = [f"{classes[number]}: probability {probabilities[number]:.1%}" for number in order]
    if unknown := int((ids == UNKNOWN).sum()):
        lines.append(f"{unknown} of {len(words)} words are not known")
    lines.append(f"weight: {heaviest(words, weights)}")
    colored = charts.ColoredText(words, 100 * weights, lines[0])
    title = "How much each word weighed"
    return Answer("\n".join(lines), charts.word_colors([colored], title, "weight (%)"))


def asked(run: Finished[Config], ids: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the probabilities (C,) and the weights (heads, S) for ids (T,)."""
    probabilities = class_probabilities(run.learner.loss, run.learner.logits(ids[None]))[0]
    weights = network_of(run.config).attention_weights(run.learner.model, ids[None])[0]
    return probabilities, weights


def heaviest(names: Sequence[str], weights: NDArray[np.float64]) -> str:
    """Return the names with the largest weights (S,), and these."""
    order = np.argsort(-weights, kind="stable")[:SHOWN]
    return ", ".join(f"{names[number]} {weights[number]:.1%}" for number in order)


QUESTION = Question(
    "apps.attention.predict",
    (__doc__ or "").splitlines()[0],
    "INPUT",
    "pairs and a key, or a text; - reads a text from the standard input",
    opened,
)

if __name__ == "__main__":
    sys.exit(main(QUESTION))
