"""What a trained network says of texts, and which words moved it.

    python -m tools.predict RUN "the text" ...

RUN is the folder of a run. A text is read from the standard input where it is `-`. Prints the
probability of each class and the words with the largest gradient times input (to first order, how
much the network's output would change without them: Shrikumar et al. 2016, arXiv:1605.01713); the
chart of them is RUN/predictions/prediction.png, or where --out says.
"""

import importlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apps.imdb_rnn.config import Config
from apps.imdb_rnn.train import build_learner
from shared.application import Application, Export, FinishedRun
from shared.application import Prediction as Answer
from shared.data.sequences import UNKNOWN
from shared.data.text import tokenizer
from shared.data.text_sets import known_words, load_texts, split_texts
from shared.files import read_verified
from shared.runs.reader import load_weights, read_config, read_metrics
from shared.training.loop import Learner
from shared.training.losses import class_probabilities

SHOWN = 8  # words each way


@dataclass(frozen=True)
class Prediction:
    """What is said of one text.

    Attributes:
        words: those that were read, (T,).
        probabilities: of each class, (C,).
        towards: the class that `effects` are for.
        effects: how much each word moved the network towards that class, in logits, (T,).
        unknown: how many words are not in the vocabulary.
    """

    words: list[str]
    probabilities: dict[str, float]
    towards: str
    effects: NDArray[np.float64]
    unknown: int

    @property
    def predicted(self) -> str:
        """Return the most probable class."""
        return max(self.probabilities, key=self.probabilities.__getitem__)


@dataclass(frozen=True)
class Reader:
    """A trained network and what it needs to read a text."""

    config: Config
    vocabulary: list[str]
    classes: list[str]
    learner: Learner


def predict(folder: Path, text: str) -> Prediction:
    """Return what the network of the run in `folder` says of a text.

    Raises:
        ConfigError: `folder` holds no finished run, or the text has no words, or none that the
            network knows.
        DataError: a file of the run is missing, damaged, or another run's.
    """
    return read(read_run(folder), text)


def read_run(folder: Path) -> Reader:
    """Return the network of the run in `folder`.

    Raises:
        ConfigError: `folder` holds no finished run.
        DataError: a file of the run is missing, damaged, or another run's.
    """
    config, metrics = read_config(folder, Config), read_metrics(folder)
    content = read_verified(folder / "vocabulary.txt", str(metrics.get("vocabulary_sha256", "")))
    vocabulary, classes = content.decode().split("\n"), metrics["classes"]
    tokenizer()  # imports torch, which cannot be after Keras (shared/parity/__init__.py)
    learner = build_learner(config, len(vocabulary), len(classes))
    load_weights(learner, folder, metrics)
    return Reader(config, vocabulary, classes, learner)


def read(reader: Reader, text: str) -> Prediction:
    """Return what a network says of a text.

    Raises:
        ConfigError: the text has no words, or none that the network knows.
    """
    config, classes, learner = reader.config, reader.classes, reader.learner
    words, ids = known_words(text, reader.vocabulary, config.data)
    probabilities = class_probabilities(learner.loss, learner.logits(ids[None]))[0]
    # A single logit speaks for the second class, whichever is more probable.
    output = 0 if len(classes) == 2 else int(probabilities.argmax())
    network = importlib.import_module(f"apps.imdb_rnn.{config.framework}_model")
    embedded, gradients = network.embedding_gradients(learner.model, ids[None], output)
    return Prediction(
        words=words,
        probabilities=dict(zip(classes, probabilities.tolist(), strict=True)),
        towards=classes[1] if len(classes) == 2 else classes[output],
        effects=by_word((embedded * gradients).sum(axis=2)[0], len(ids)),
        unknown=int((ids == UNKNOWN).sum()),
    )


def by_word(effects: NDArray[np.float64], words: int) -> NDArray[np.float64]:
    """Return one number a word, (T,): what a pair of words did is shared by the two."""
    pairs = effects[words:] / 2
    summed = effects[:words].copy()
    if len(pairs):
        summed[:-1] += pairs
        summed[1:] += pairs
    return summed


def described(prediction: Prediction) -> str:
    """Return the lines to print."""
    lines = [
        f"{name}: probability {probability:.1%}"
        for name, probability in sorted(prediction.probabilities.items(), key=lambda item: -item[1])
    ]
    if prediction.unknown:
        lines.append(f"{prediction.unknown} of {len(prediction.words)} words are not known")
    order = np.argsort(prediction.effects)
    for direction, positions in (("towards", order[::-1]), ("against", order)):
        sign = 1 if direction == "towards" else -1
        moved = [
            f"{prediction.words[n]} {prediction.effects[n]:+.2f}"
            for n in positions[:SHOWN]
            if sign * prediction.effects[n] > 0
        ]
        lines.append(f"{direction} {prediction.towards}: {', '.join(moved) or 'no word'}")
    return "\n".join(lines)


def draw(prediction: Prediction) -> bytes:
    """Return the picture of the text."""
    from shared import charts  # matplotlib takes a second to import

    best = prediction.predicted
    text = charts.ColoredText(
        prediction.words, prediction.effects, f"{best}: {prediction.probabilities[best]:.1%}"
    )
    label = f"against (< 0) and towards (> 0) {prediction.towards}, in logits"
    title = "Which words moved it: gradient times input"
    return charts.word_colors([text], title, label, signed=True)


def answered(run: FinishedRun[Config], text: str) -> Answer:
    """Return what is printed and drawn of a text."""
    said = read(reader_of(run.folder), text)
    return Answer(described(said), draw(said))


reader_of = cache(read_run)


def written(network: Any) -> Any:
    """Return the network in a form that torch can write for texts of any length."""
    return importlib.import_module("apps.imdb_rnn.torch_export").written(network)


APPLICATION = Application(
    "imdb_rnn",
    Config,
    lambda config: load_texts(config.data),
    lambda config, own: build_learner(config, len(own.vocabulary), len(own.classes)),
    lambda own, other, config: split_texts(other, config)[2],
    answered,
    input_help="a text; - reads it from the standard input",
    export=Export(
        "ids",
        ("batch", "length"),
        lambda run: (
            "ids (batch, length): an id is a line of the run's vocabulary.txt, counted from "
            "0, and 0 is padding, on the right"
        ),
        written,
    ),
)
