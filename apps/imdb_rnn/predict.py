"""Predict the class of a text, and describe the application to the tools.

Prints the probability of each class and the words with the largest gradient times input: to first
order, how much the network's output would change without them (Shrikumar et al. 2016,
arXiv:1605.01713).
"""

import importlib
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from apps.imdb_rnn.config import Config
from apps.imdb_rnn.data import load_data, split
from apps.imdb_rnn.train import build_learner
from shared.application import Application, Export, FinishedRun, Prediction
from shared.data.sequences import UNKNOWN
from shared.data.text_sets import describe_ids, known_words
from shared.training.frameworks import network_module
from shared.training.probabilities import class_probabilities

SHOWN = 8  # words in each direction


class Explanation(NamedTuple):
    """The prediction for the T words of a text, of which `unknown` are not in the vocabulary.

    `effects`, (T,), is how much each word moved the network towards the class `towards`, in logits.
    """

    words: list[str]
    unknown: int
    probabilities: dict[str, float]  # of each class, the most probable first
    towards: str
    effects: NDArray[np.float64]


def predict(run: FinishedRun[Config], text: str) -> Prediction:
    """Return the probability of each class and the words that moved it most, and a chart of them.

    Raises:
        ConfigError: the text has no words, or none that the network knows.
        DataError: a file of the run is missing, damaged, or from another run.
    """
    from shared import charts  # matplotlib takes a second to import

    words, unknown, probabilities, towards, effects = explain(run, text)
    lines = [f"{name}: probability {probability:.1%}" for name, probability in probabilities.items()]
    colored = charts.ColoredText(words, effects, lines[0])
    if unknown:
        lines.append(f"{unknown} of {len(words)} words are not in the vocabulary")
    order = np.argsort(effects)
    for direction, positions, sign in (("towards", order[::-1], 1), ("against", order, -1)):
        moved = [f"{words[n]} {effects[n]:+.2f}" for n in positions[:SHOWN] if sign * effects[n] > 0]
        lines.append(f"{direction} {towards}: {', '.join(moved) or 'no word'}")
    label = f"against (< 0) and towards (> 0) {towards}, in logits"
    chart = charts.word_colors([colored], "Effect of each word: gradient times input", label, signed=True)
    return Prediction("\n".join(lines), chart)


def explain(run: FinishedRun[Config], text: str) -> Explanation:
    """Return the prediction for a text and the effect of each word; raises as `predict`."""
    texts, learner = run.preprocessing, run.learner
    words, ids = known_words(text, texts.vocabulary, run.config.data)
    probabilities = class_probabilities(learner.loss, learner.logits(ids[None]))[0]
    # A single logit belongs to the second class, whichever is more probable.
    binary = len(texts.classes) == 2
    output = 0 if binary else int(probabilities.argmax())
    module = network_module("apps.imdb_rnn", run.config)
    embedded, gradients = module.embedding_gradients(learner.model, ids[None], output)
    effects, pairs = np.split((embedded * gradients).sum(axis=2)[0], [len(ids)])
    if len(pairs):  # the two words of a pair share its effect
        effects[:-1] += pairs / 2
        effects[1:] += pairs / 2
    effects = effects[len(ids) - len(words) :]  # without the padding at the front
    return Explanation(
        words,
        int((ids == UNKNOWN).sum()),
        {texts.classes[n]: float(probabilities[n]) for n in np.argsort(-probabilities)},
        texts.classes[1 if binary else output],
        effects,
    )


def exportable(network: Any, file_format: str) -> Any:
    """Return an equivalent network that can be exported for texts of any length."""
    if file_format == "keras":
        return network
    return importlib.import_module("apps.imdb_rnn.torch_export").exportable(network, file_format)


APPLICATION = Application(
    "imdb_rnn",
    Config,
    load_data,
    build_learner,
    lambda own, texts, config: split(texts, config)[2],
    predict,
    input_help="a text or a file with one; - reads it from standard input",
    export=Export("ids", ("batch", "length"), lambda run: describe_ids(run.config.data), exportable),
    load_other_data=load_data,
)
