"""What a trained network says of what is given, and where it looked.

    python -m tools.predict RUN "k07 v3 k51 v0 k07" ...
    python -m tools.predict RUN "the text" ...

Of a run on `recall` it is pairs of a key and a value and the key that is asked for: prints the
answer and the pairs with the largest weights. Of a run on texts it is a text (`-`: from the
standard input): prints the probability of each class and the words with the largest weights. The
picture is RUN/predictions/prediction.png (--out FOLDER: there).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from apps.attention.config import Config
from apps.attention.train import build_learner, limited, load, network_of
from shared.application import Application, Export, FinishedRun, Prediction
from shared.data.config import Texts
from shared.data.examples import Examples
from shared.data.recall import RecallData
from shared.data.sequences import UNKNOWN
from shared.data.text import TextData, tokenizer
from shared.data.text_sets import known_words, split_texts
from shared.errors import ConfigError
from shared.training.losses import class_probabilities

SHOWN = 8  # words or pairs that are printed


def answered(run: FinishedRun[Config], text: str) -> Prediction:
    """Return what is printed and drawn of an input."""
    if run.config.data.name != "recall":
        tokenizer()  # imports torch, which cannot be after Keras (shared/parity/__init__.py)
    return (looked_up if isinstance(run.data, RecallData) else weighed)(run, text)


def looked_up(run: FinishedRun[Config], text: str) -> Prediction:
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
    return Prediction("\n".join(lines), drawn)


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


def weighed(run: FinishedRun[Config], text: str) -> Prediction:
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
    return Prediction("\n".join(lines), charts.word_colors([colored], title, "weight (%)"))


def asked(
    run: FinishedRun[Config], ids: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the probabilities (C,) and the weights (heads, S) for ids (T,)."""
    probabilities = class_probabilities(run.learner.loss, run.learner.logits(ids[None]))[0]
    weights = network_of(run.config).attention_weights(run.learner.model, ids[None])[0]
    return probabilities, weights


def heaviest(names: Sequence[str], weights: NDArray[np.float64]) -> str:
    """Return the names with the largest weights (S,), and these."""
    order = np.argsort(-weights, kind="stable")[:SHOWN]
    return ", ".join(f"{names[number]} {weights[number]:.1%}" for number in order)


def test_examples(own: RecallData | TextData, other: RecallData | TextData, config: Config) -> Examples:
    """Return the test examples of `other`."""
    if isinstance(other, RecallData):
        return limited(other.test, config.data.test_limit)
    return split_texts(other, config)[2]


def meaning(run: FinishedRun[Config]) -> str:
    """Say what the ids stand for."""
    if isinstance(run.data, RecallData):
        keys = len(run.data.vocabulary) - len(run.data.classes) - 1
        return (
            f"ids (batch, length): key, value, ..., key that is asked for; keys are 1 to {keys}, "
            f"values {keys + 1} to {len(run.data.vocabulary) - 1}; 0 is padding"
        )
    return (
        "ids (batch, length): an id is a line of the run's vocabulary.txt, counted from 0, and 0 "
        "is padding, on the right"
    )


APPLICATION = Application(
    "attention",
    Config,
    lambda config: load(config)[0],
    build_learner,
    test_examples,
    answered,
    input_help="pairs and a key, or a text; - reads a text from the standard input",
    export=Export("ids", ("batch", "length"), meaning),
)
