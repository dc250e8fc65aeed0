"""Which examples the pictures show, and what they say of them."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apps.attention import pictures
from apps.attention.pictures import HeatMap
from shared.charts import ColoredText, word_colors
from shared.data.examples import Examples
from shared.data.recall import RecallData
from shared.data.text import TextData
from shared.training.loop import Evaluation

Look = Callable[[NDArray[np.int64]], NDArray[np.float64]]  # ids (N, T) to weights (N, heads, S)

SHOWN = 16  # pairs, at most
HEADS = 4  # at most
STRIP = 24  # tokens of a review that is shown in one line
PAGE = 90  # tokens of a review that is shown as a text


def looked_up(look: Look, data: RecallData, title: str) -> bytes:
    """Return a PNG of the pairs of one test example, asked for each of its keys in turn."""
    one = data.test.ids[0]
    keys, values = one[:-1:2], one[1::2]
    questions = np.tile(one, (len(keys), 1))
    questions[:, -1] = keys
    weights = look(questions)  # (P, heads, P)
    shown, heads = min(SHOWN, len(keys)), weights.shape[1]
    names = data.vocabulary
    rows = [f"{names[key]}?" for key in keys[:shown]]
    columns = [f"{names[k]} {names[v]}" for k, v in zip(keys[:shown], values[:shown], strict=True)]
    maps = [
        HeatMap(
            weights[:shown, head, :shown],
            rows,
            columns,
            f"head {head + 1} of {heads}" if heads > 1 else "",
            range(shown),
        )
        for head in range(min(heads, HEADS))
    ]
    cut = f", the first {shown} of {len(keys)}" if shown < len(keys) else ""
    x_label = f"pair of key and value{cut}; outlined: the pair that holds the answer"
    return pictures.heat_maps(maps, title, x_label, "key that is asked for", 1, side_by_side=True)


def lengths(metrics: dict[str, Any], data: RecallData, title: str) -> bytes:
    """Return a PNG of the accuracy by the number of pairs, the twin with mean pooling included."""
    of_all = {metrics["model"]: metrics}
    if "mean_pooling" in metrics:
        of_all["mean_pooling"] = metrics["mean_pooling"]
    accuracies = {
        label.replace("_", " "): {int(n): value for n, value in one["accuracy_by_pairs"].items()}
        for label, one in of_all.items()
    }
    trained = data.train.ids.shape[1] // 2
    return pictures.accuracy_by_length(accuracies, trained, metrics["chance"], title)


def strips(look: Look, data: TextData, test: Evaluation, test_set: Examples, title: str) -> bytes:
    """Return a PNG of a short test review of each of two classes, in one line each."""
    maps = []
    for number in _one_of_each(test_set, STRIP):
        ids = test_set.inputs[np.array([number])]
        weights = look(ids)[0]  # (heads, T)
        rows = [f"head {head + 1}" for head in range(len(weights))] if len(weights) > 1 else []
        verdict = _verdict(data, test, test_set, number)
        maps.append(HeatMap(weights, rows, data.decode(ids[0]), verdict))
    highest = max(float(one.weights.max()) for one in maps)
    return pictures.heat_maps(maps, title, "token", "", highest, side_by_side=False)


def colored(look: Look, data: TextData, test: Evaluation, test_set: Examples, title: str) -> bytes:
    """Return a PNG of a test review of each of two classes, its words colored by their weight.

    With several heads it is the mean of their weights.
    """
    texts = []
    for number in _one_of_each(test_set, PAGE):
        ids = test_set.inputs[np.array([number])]
        weights = look(ids)[0].mean(axis=0)
        verdict = _verdict(data, test, test_set, number)
        texts.append(ColoredText(data.decode(ids[0]), 100 * weights, verdict))
    return word_colors(texts, title, "attention weight (%)")


def _one_of_each(test_set: Examples, length: int) -> list[int]:
    """Return the position of a text of each of the first two classes, of about that length."""
    distance = np.abs(test_set.inputs.lengths - length)
    classes = np.unique(test_set.labels)[:2]
    return [int(np.where(test_set.labels == one, distance, 10**9).argmin()) for one in classes]


def _verdict(data: TextData, test: Evaluation, test_set: Examples, number: int) -> str:
    true, predicted = test_set.labels[number], test.predictions[number]
    return f"true class: {data.classes[true]}, predicted: {data.classes[predicted]}"
