"""Predict the value of a key or the class of a text, and describe the application to the tools.

Prints the most probable class and the pairs or words with the largest attention weights.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from apps.attention.config import Config
from apps.attention.data import load_data, split
from apps.attention.train import build_learner
from shared.application import Application, Export, FinishedRun, Prediction
from shared.data.config import Texts
from shared.data.sequences import UNKNOWN
from shared.data.text_sets import describe_ids, known_words
from shared.errors import ConfigError
from shared.runs.preprocessing import Preprocessing
from shared.training.frameworks import network_module
from shared.training.probabilities import class_probabilities

SHOWN = 8  # words or pairs that are printed


def predict(run: FinishedRun[Config], text: str) -> Prediction:
    """Return the probability of each class of a text, or the value of a key, and a chart of the weights.

    The weight of a word is its mean over the heads.

    Raises:
        ConfigError: they are not pairs and one of their keys; or the text has no words, or none
            that the network knows.
    """
    from shared import charts  # matplotlib takes a second to import

    if run.config.data.name == "recall":
        return predict_value(run, text)
    data = run.config.data
    assert isinstance(data, Texts)
    words, ids = known_words(text, run.preprocessing.vocabulary, data)
    probabilities, by_head = probabilities_and_weights(run, ids)
    weights, classes = by_head.mean(axis=0), run.preprocessing.classes
    lines = [f"{classes[n]}: probability {probabilities[n]:.1%}" for n in np.argsort(-probabilities)]
    colored = charts.ColoredText(words, 100 * weights, lines[0])
    if unknown := int((ids == UNKNOWN).sum()):
        lines.append(f"{unknown} of {len(words)} words are not in the vocabulary")
    lines.append(f"weight: {top_weights(words, weights)}")
    chart = charts.word_colors([colored], "Attention weight of each word", "weight (%)")
    return Prediction("\n".join(lines), chart)


def predict_value(run: FinishedRun[Config], text: str) -> Prediction:
    """Return the value of the key that is asked for, and the weight of each pair in each head."""
    from apps.attention import charts  # matplotlib takes a second to import

    names = text.split()
    probabilities, weights = probabilities_and_weights(run, ids_of_pairs(names, run.preprocessing))
    best = int(probabilities.argmax())
    answer = f"{names[-1]}? {run.preprocessing.classes[best]}, probability {probabilities[best]:.1%}"
    pairs = [f"{key} {value}" for key, value in zip(names[:-1:2], names[1::2], strict=True)]
    rows = [f"head {head + 1}" for head in range(len(weights))] if len(weights) > 1 else ["weight"]
    lines = [f"{row}: {top_weights(pairs, own)}" for row, own in zip(rows, weights, strict=True)]
    marked = [names[:-1:2].index(names[-1])] * len(rows)
    x_label = "pair of key and value; outlined: the pair with the answer"
    chart = charts.heat_maps([charts.HeatMap(weights, rows, pairs, "", marked)], answer, x_label, wide=True)
    return Prediction("\n".join([answer, *lines]), chart)


def ids_of_pairs(names: Sequence[str], own: Preprocessing) -> NDArray[np.int64]:
    """Return the ids of key, value, key, value, ..., and the key that is asked for, (T,).

    Raises:
        ConfigError: the names are something else, or the answer is not unique.
    """
    values = own.classes
    keys = own.vocabulary[1 : -len(values)]  # without padding
    usage = f"give {keys[0]} {values[1]} {keys[1]} {values[0]} ... and one of the keys again"
    for place, name in enumerate(names):
        known, kind = (values, "value") if place % 2 else (keys, "key")
        if name not in known:
            raise ConfigError(f"{name!r} is not a {kind}: there are {known[0]} to {known[-1]}; {usage}")
    given = names[:-1:2]
    if len(names) % 2 == 0 or len(names) < 3:
        raise ConfigError(f"these are not pairs and a key: {usage}")
    if len(set(given)) < len(given):
        raise ConfigError("a key is in two pairs: the answer is not unique")
    if names[-1] not in given:
        raise ConfigError(f"{names[-1]} is in none of the pairs: there is no answer")
    return np.array([own.vocabulary.index(name) for name in names], np.int64)


def probabilities_and_weights(
    run: FinishedRun[Config], ids: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the probabilities (C,) and the weights (heads, S) for ids (T,)."""
    probabilities = class_probabilities(run.learner.loss, run.learner.logits(ids[None]))[0]
    module = network_module("apps.attention", run.config)
    return probabilities, module.attention_weights(run.learner.model, ids[None])[0]


def top_weights(names: Sequence[str], weights: NDArray[np.float64]) -> str:
    """Return the names with the largest weights (S,), and these weights."""
    order = np.argsort(-weights, kind="stable")[:SHOWN]
    return ", ".join(f"{names[number]} {weights[number]:.1%}" for number in order)


def describe_input(run: FinishedRun[Config]) -> str:
    """Return what the exported network takes."""
    if run.config.data.name != "recall":
        return describe_ids(run.config.data)
    tokens = len(run.preprocessing.vocabulary)
    keys = tokens - len(run.preprocessing.classes) - 1
    return (
        f"ids (batch, length): key, value, ..., key that is asked for; keys are 1 to {keys}, "
        f"values {keys + 1} to {tokens - 1}; 0 is padding"
    )


APPLICATION = Application(
    "attention",
    Config,
    load_data,
    build_learner,
    lambda own, data, config: split(data, config)[2],
    predict,
    input_help="pairs and a key, or a text or a file with one; - reads it from standard input",
    export=Export("ids", ("batch", "length"), describe_input),
    load_other_data=load_data,
)
