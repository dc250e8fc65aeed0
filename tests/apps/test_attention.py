"""apps/attention: three frameworks and their own layers, one result; padding has no weight."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import torch
from torch.nn import functional as F

from apps.attention import charts, keras_model, numpy_model, torch_model
from apps.attention.config import Config
from apps.attention.data import load_data
from apps.attention.train import build_learner, train
from shared.data import recall
from shared.data.examples import Examples
from shared.data.sequences import PAD, Documents, Sequences
from shared.data.text import TextData
from shared.errors import ConfigError
from shared.training.loop import Evaluation
from tests.apps.agreement import (
    FRAMEWORKS,
    Array,
    Networks,
    assert_close,
    assert_same_gradients,
    assert_same_steps,
    build_networks,
)
from tests.helpers import ROOT, app_config

MODELS = ["single_head", "multi_head", "mean_pooling"]
MODULES = (torch_model, keras_model, numpy_model)
TOKENS, OUTPUTS = 30, 3
LENGTHS = (5, 3, 1, 4)  # of examples
# Keras's own layer rounds 1 / sqrt(width of a head) to float32: 1/2 and 1/4 are exact there.
EXACT = ["model.embedding=16", "model.dropout=0.0", "model.std=1.0"]


def attention_config(run_dir: Path, *overrides: str) -> Config:
    # All applications share TensorFlow in this process, whose threads are set once.
    config: Config = app_config("attention", run_dir, "trainer.threads=null", *overrides)
    return config


# The formula and torch's own layers; tools/gradcheck compares the layers of the frameworks


@pytest.mark.usefixtures("keras_float64")
def test_attention_is_torchs_function() -> None:
    """Output, weights and the gradients of query, key and value; True may be attended."""
    random = np.random.default_rng(0)
    inputs = [random.normal(size=(2, length, 16)) for length in (3, 5, 5)]
    upstream, mask = random.normal(size=(2, 3, 16)), random.random((2, 3, 5)) < 0.5
    mask[np.arange(2)[:, None], np.arange(3), random.integers(0, 5, (2, 3))] = True  # each query has a key
    assert not mask.all()
    reference: Any = [torch.tensor(one, requires_grad=True) for one in inputs]
    own: Any = [torch.tensor(one, requires_grad=True) for one in inputs]
    expected = F.scaled_dot_product_attention(
        reference[0], reference[1], reference[2], attn_mask=torch.from_numpy(mask)
    )
    expected.backward(torch.from_numpy(upstream))
    of_torch, torch_weights = torch_model.attention(own[0], own[1], own[2], torch.from_numpy(mask))
    of_torch.backward(torch.from_numpy(upstream))
    constants: Any = [tf.constant(array) for array in inputs]
    with tf.GradientTape() as tape:
        tape.watch(constants)
        of_keras, keras_weights = keras_model.attention(constants[0], constants[1], constants[2], mask)
    in_keras = tape.gradient(of_keras, constants, upstream)
    assert_close(of_torch.detach(), expected.detach(), "torch")
    assert_close(of_keras, expected.detach(), "keras")
    for weights in (torch_weights.detach().numpy(), np.asarray(keras_weights)):
        assert_close(weights @ inputs[2], expected.detach(), "what the weights mix")
        np.testing.assert_array_equal(weights[~mask], 0)
        np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-12)
    for number, name in enumerate(("query", "key", "value")):
        for gradient in (own[number].grad, in_keras[number]):
            assert_close(gradient, reference[number].grad, name)


# The networks


def ids_of(paired: bool, width: int) -> Array:
    """Return four examples of other lengths, padded to `width` items, pairs or tokens."""
    random = np.random.default_rng(0)
    items = [random.integers(1, TOKENS, (length, 1 + paired)) for length in LENGTHS]
    rows = [np.pad(one, ((0, width - len(one)), (0, 0)), constant_values=PAD) for one in items]
    ids = np.array(rows).reshape(4, -1)
    return np.concatenate([ids, random.integers(1, TOKENS, (4, 1))], axis=1) if paired else ids


def networks_of(model: str, paired: bool, run_dir: Path) -> Networks:
    config = attention_config(run_dir, f"model={model}", *EXACT).model
    return build_networks(MODULES, config, tokens=TOKENS, outputs=OUTPUTS, paired=paired)


@pytest.mark.usefixtures("keras_float64")
@pytest.mark.parametrize("paired", [True, False], ids=["recall", "texts"])
@pytest.mark.parametrize("model", MODELS)
def test_the_same_weights_give_the_same_logits_and_gradients(
    model: str, paired: bool, tmp_path: Path
) -> None:
    networks = networks_of(model, paired, tmp_path)
    ids, upstream = ids_of(paired, 6), np.random.default_rng(1).normal(size=(4, OUTPUTS))
    weights = torch_model.attention_weights(networks.torch, ids)
    assert_close(keras_model.attention_weights(networks.keras, ids), weights, "Keras's weights")
    assert_close(numpy_model.attention_weights(networks.numpy, ids), weights, "NumPy's weights")
    # A key's bias moves all scores of a question alike.
    assert_same_gradients(networks, ids, upstream, zero={"key.bias"})


@pytest.mark.usefixtures("keras_float64")
@pytest.mark.parametrize("paired", [True, False], ids=["recall", "texts"])
@pytest.mark.parametrize("model", MODELS)
def test_padding_is_never_attended(model: str, paired: bool, tmp_path: Path) -> None:
    """The same examples alone, together, and padded to any width; weights of nothing are 0."""
    networks = networks_of(model, paired, tmp_path)
    narrow, wide = ids_of(paired, 5), ids_of(paired, 11)
    last = narrow[:, -1:] if paired else narrow[:, :0]
    for module, network, (name, logits) in zip(MODULES, networks, networks.logits().items(), strict=True):
        together = logits(narrow)
        assert_close(logits(wide), together, name)
        weights = module.attention_weights(network, wide)
        assert weights.shape == (4, 4 if model == "multi_head" else 1, 11)
        np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-12)
        for n, length in enumerate(LENGTHS):
            alone = np.concatenate([narrow[[n], : length * (1 + paired)], last[[n]]], axis=1)
            assert_close(logits(alone), together[[n]], f"{name} alone")
            np.testing.assert_array_equal(weights[n, :, length:], 0)


@pytest.mark.usefixtures("keras_float64")
@pytest.mark.parametrize("model", MODELS)
def test_three_frameworks_take_the_same_steps(model: str, tmp_path: Path) -> None:
    chosen = [f"model={model}", "trainer.precision=float64", "optimizer.eps=1e-4", *EXACT]
    random = np.random.default_rng(0)
    data = Examples(random.integers(1, TOKENS, (32, 9)), random.integers(0, OUTPUTS, 32))
    sizes: Any = {"vocabulary": ("",) * TOKENS, "classes": ("",) * OUTPUTS}
    nothing = Examples(np.empty((0, 9), np.int64), np.empty(0, np.int64))
    pairs = recall.RecallData(nothing, nothing, {}, **sizes)
    learners = {
        framework: build_learner(attention_config(tmp_path, f"framework={framework}", *chosen), pairs)
        for framework in FRAMEWORKS
    }
    losses = assert_same_steps(learners, data)
    assert losses[0] - losses[-1] > 0.1


# The data


def test_each_key_stands_once_and_the_answer_is_its_value() -> None:
    pairs = recall.generate(500, 20, 6, 12, np.random.default_rng(0))
    keys, values, asked = pairs.inputs[:, :-1:2], pairs.inputs[:, 1::2], pairs.inputs[:, -1]
    assert keys.min() == PAD + 1
    assert keys.max() == 20
    assert values.min() == 21
    assert values.max() == 26
    for row in range(500):
        assert len(set(keys[row])) == 12
        counts = np.bincount(values[row] - 21, minlength=6)
        assert sorted(counts) == [0, 0, 0, 4, 4, 4]
        (place,) = np.flatnonzero(keys[row] == asked[row])
        assert values[row, place] - 21 == pairs.labels[row]


def test_tokens_without_their_order_do_not_tell_the_answer() -> None:
    """Every value of those that are there is the answer equally often, whatever is asked for.

    8 values, of which 4 are there. The rank of the answer among them, the place of its pair, and
    whether the key that is asked for goes with the rank: each within 4 standard deviations.
    """
    count, pairs = 40_000, 8
    data = recall.generate(count, 16, 8, pairs, np.random.default_rng(1))
    values = data.inputs[:, 1::2] - 17
    there = (values[:, :, None] == np.arange(8)).any(axis=1)
    rank = np.where(there, np.arange(8) < data.labels[:, None], False).sum(axis=1)
    place = (data.inputs[:, :-1:2] == data.inputs[:, -1:]).argmax(axis=1)
    for what, number in ((rank, 4), (place, pairs), (data.labels, 8)):
        expected = count / number
        assert abs(np.bincount(what, minlength=number) - expected).max() < 4 * expected**0.5
    table = np.bincount((data.inputs[:, -1] - 1) * 4 + rank, minlength=64)
    assert abs(table - count / 64).max() < 4.5 * (count / 64) ** 0.5


def test_the_data_are_the_same_every_time() -> None:
    first, second = (recall.load(16, 4, 4, [8]) for _ in range(2))
    assert first.sha256 == second.sha256
    assert first.sha256 != recall.load(16, 4, 4, [10]).sha256
    assert (len(first.train), len(first.test), len(first.longer[8])) == (20_000, 5_000, 5_000)
    assert len(first.vocabulary) == 1 + 16 + 4
    seen = {row.tobytes() for row in first.train.inputs}
    assert np.mean([row.tobytes() in seen for row in first.test.inputs]) < 0.1


# Whole runs

FILES = {
    *("config.yaml", "metrics.json", "history.csv", "steps.csv"),
    *("curves.png", "confusion.png", "weights.safetensors", "attention.png"),
    "vocabulary.txt",
}


@pytest.mark.parametrize("framework", ["keras", "numpy"])  # torch: in the small task below
def test_a_run_leaves_everything_behind(framework: str, tmp_path: Path) -> None:
    config = attention_config(
        tmp_path, f"framework={framework}", "model=multi_head", "debug=smoke", "data.longer=[24]"
    )
    metrics = train(config)
    assert {path.name for path in tmp_path.iterdir()} == FILES | {"lengths.png", "mean_pooling"}
    twin = tmp_path / "mean_pooling"
    assert {path.name for path in twin.iterdir()} == FILES | {"lengths.png"}
    assert metrics == json.loads((tmp_path / "metrics.json").read_text())
    expected = {"app": "attention", "dataset": "recall", "embedded": False, "test_examples": 256}
    expected |= {"chance": 0.125, "framework": framework, "status": "done"}
    assert metrics.items() >= expected.items()
    assert list(metrics["accuracy_by_pairs"]) == ["16", "24"]
    of_twin = json.loads((twin / "metrics.json").read_text())
    assert of_twin["model"] == "mean_pooling"
    assert of_twin["accuracy_by_pairs"] == metrics["mean_pooling"]["accuracy_by_pairs"]


def test_a_run_on_texts_colors_their_words(tmp_path: Path) -> None:
    config = attention_config(tmp_path, "data=reviews", "debug=smoke")
    metrics = train(config)
    assert {path.name for path in tmp_path.iterdir()} == FILES | {"words.png"}
    assert metrics["dataset"] == "reviews"
    assert "accuracy_by_pairs" not in metrics


class WordCounter:
    """A network that counts good and bad words."""

    loss = "binary_cross_entropy"

    def logits(self, ids: Array) -> Array:
        return ((ids == 3).sum(axis=1) - (ids == 4).sum(axis=1))[:, None].astype(np.float64)


def test_the_reviews_drawn_are_those_classified_most_clearly(
    figures: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of those of about the wanted length: the last two would be clearer, but are too long."""
    words = ("<pad>", "<unk>", "film", "good", "bad")
    texts = [[4] + [2] * 23, [2, 4, 4, 4] + [2] * 20, [2] * 24, [3, 3] + [2] * 23, [4] * 200, [3] * 200]
    labels = np.array([0, 0, 1, 1, 0, 1])
    lengths = [len(text) for text in texts]
    documents = Documents(np.concatenate(texts), np.cumsum([0, *lengths]), labels)
    data = TextData("t", documents, documents, words, ("bad", "good"), True, "here")
    test = Evaluation(0.0, 1.0, labels)
    inputs = Sequences(documents, 300)

    def weights_of(ids: Array) -> Array:
        return np.full((1, 1, ids.shape[1]), 1 / ids.shape[1])

    monkeypatch.setattr(charts, "CANDIDATES", 2)
    network: Any = WordCounter()
    charts.review_weights(weights_of, network, data, test, Examples(inputs, labels), "title")
    negative, positive = figures[0].axes[:2]
    shown = [[label.get_text() for label in axes.get_xticklabels()] for axes in (negative, positive)]
    assert [(found.count("good"), found.count("bad")) for found in shown] == [(0, 3), (2, 0)]


def test_attention_looks_up_and_the_mean_guesses(tmp_path: Path) -> None:
    """A small task, in seconds; the whole one is slow."""
    chosen = ["data.keys=16", "data.values=4", "data.pairs=4", "data.longer=[8, 16]"]
    chosen += ["data.train_limit=10000", "trainer.epochs=4", "optimizer.lr=0.01"]
    metrics = train(attention_config(tmp_path, *chosen))
    assert min(metrics["accuracy_by_pairs"].values()) >= 0.99
    assert max(metrics["mean_pooling"]["accuracy_by_pairs"].values()) < 0.54
    assert metrics["chance"] == 0.5
    assert metrics["test_examples"] == 5_000


@pytest.mark.slow
@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("model", ["single_head", "multi_head"])
def test_the_whole_task(framework: str, model: str, tmp_path: Path) -> None:
    """12.5 % is chance: 13.9 % is three standard deviations of 5,000 guesses above it."""
    metrics = train(attention_config(tmp_path, f"framework={framework}", f"model={model}"))
    assert metrics["test_accuracy"] >= 0.99
    assert min(metrics["accuracy_by_pairs"].values()) >= 0.9
    for accuracy in metrics["mean_pooling"]["accuracy_by_pairs"].values():
        assert accuracy == pytest.approx(0.125, abs=0.02)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model=multi_head", "model.heads=5"], r"model\.heads=5 does not divide model\.embedding"),
        (["data.pairs=72"], r"data\.pairs: 72 pairs need as many different keys .*keys=64"),
        (["data.longer=[24, 128]"], r"data\.longer: 128 pairs need as many different keys"),
        (["data.pairs=12"], r"data\.pairs: 12 pairs cannot contain half of the values equally often"),
        (["data.values=7"], r"data\.values .*multiple of 2 .*data\.values=7"),
        (["data.longer=[8]"], r"data\.longer: expected numbers larger than data\.pairs=16"),
        (["data.longer=[24, 24]"], r"data\.longer: a number occurs twice"),
        (["data.keys=99999"], r"data\.keys should be less than or equal to 2000"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(overrides: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        load_data(attention_config(tmp_path, *overrides))
    assert "\n" not in str(error.value)


def test_the_recorded_runs_reach_what_is_promised() -> None:
    """Recall: 99 % at every length in every framework, mean pooling a guess. IMDB: 88 %."""
    runs = json.loads((ROOT / "docs" / "results" / "attention.json").read_text())
    assert {(run["model"], run["framework"]) for run in runs if run["dataset"] == "recall"} == {
        (model, framework) for model in MODELS for framework in FRAMEWORKS
    }
    for run in runs:
        if run["dataset"] != "recall":
            assert run["test_accuracy"] >= 0.88
            assert run["train_seconds"] < 120
        elif run["model"] == "mean_pooling":
            assert max(run["accuracy_by_pairs"].values()) < run["chance"] + 0.02
        else:
            assert min(run["accuracy_by_pairs"].values()) >= 0.99
