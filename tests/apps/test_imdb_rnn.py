"""apps/imdb_rnn: the same networks in three frameworks; padding has no effect; predictions."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from apps.imdb_rnn import gradients, keras_model, numpy_model, predict, torch_model
from apps.imdb_rnn.config import Config, Nbsvm
from apps.imdb_rnn.data import load_data, split
from apps.imdb_rnn.naive_bayes import log_count_ratios, words_and_pairs
from apps.imdb_rnn.train import build_learner, train
from shared.application import FinishedRun
from shared.data.examples import Examples
from shared.data.sequences import PAD, batches_by_length
from shared.errors import ConfigError, DataError
from shared.parity.weights import torch_to_keras, torch_to_numpy
from shared.runs.reader import read_metrics, read_weights
from tests.apps.agreement import (
    FRAMEWORKS,
    Networks,
    assert_same_gradients,
    assert_same_steps,
    build_networks,
)
from tests.helpers import ROOT, TIMEOUT, app_config

MODELS = ["lstm", "bilstm", "rnn", "bow", "nbsvm"]
TOKENS = 30
NO_DROPOUT = "model.dropout=0.0"
BILSTM = ["model=bilstm", "model.embedding=6", "model.hidden=5"]
SMALL = {
    "lstm": ["model=lstm", "model.embedding=6", "model.hidden=5", NO_DROPOUT],
    "lstm_last": ["model=lstm", "model.embedding=6", "model.hidden=5", "model.readout=last", NO_DROPOUT],
    "bilstm": [*BILSTM, NO_DROPOUT, "model.embedding_dropout=0.0"],
    "rnn": ["model=rnn", "model.embedding=6", "model.hidden=5", NO_DROPOUT],
    "rnn_max": ["model=rnn", "model.embedding=6", "model.hidden=5", "model.readout=max", NO_DROPOUT],
    "bow": ["model=bow", "model.embedding=6", "model.buckets=40", NO_DROPOUT],
    "nbsvm": ["model=nbsvm", "model.buckets=40"],
}
LENGTHS = (7, 3, 1, 5)
FILES = {
    *("config.yaml", "metrics.json", "history.csv", "steps.csv"),
    *("curves.png", "confusion.png", "weights.safetensors", "vocabulary.txt"),
}


def imdb_config(run_dir: Path, *overrides: str) -> Config:
    config: Config = app_config("imdb_rnn", run_dir, "data=reviews", *overrides)
    return config


def padded_ids(width: int) -> np.ndarray:
    """Four documents of the lengths above, padded to `width`."""
    random = np.random.default_rng(0)
    rows = [random.integers(2, TOKENS, length) for length in LENGTHS]
    return np.array([np.pad(row, (0, width - len(row)), constant_values=PAD) for row in rows])


def networks_of(model: str, tmp_path: Path) -> Networks:
    config = imdb_config(tmp_path, *SMALL[model]).model
    networks = build_networks((torch_model, keras_model, numpy_model), config, tokens=TOKENS)
    if model == "nbsvm":  # starts at 0
        torch.nn.init.normal_(networks.torch.embedding.weight)
        torch.nn.init.normal_(networks.torch.bias.weight)
        torch_to_keras(networks.torch, networks.keras)
        torch_to_numpy(networks.torch, networks.numpy)
    return networks


@pytest.mark.usefixtures("keras_float64")
@pytest.mark.parametrize("model", SMALL)
def test_the_same_weights_give_the_same_logits_and_gradients(model: str, tmp_path: Path) -> None:
    upstream = np.random.default_rng(1).normal(size=(4, 1))
    assert_same_gradients(networks_of(model, tmp_path), padded_ids(9), upstream)


@pytest.mark.usefixtures("keras_float64")
@pytest.mark.parametrize("model", SMALL)
def test_padding_is_never_read(model: str, tmp_path: Path) -> None:
    """The same documents alone, together, and padded to any width."""
    for name, logits in networks_of(model, tmp_path).logits().items():
        together = logits(padded_ids(7))
        np.testing.assert_allclose(logits(padded_ids(20)), together, rtol=1e-12, err_msg=name)
        for number, length in enumerate(LENGTHS):
            if length > 1 or model not in ("bow", "nbsvm") or name != "keras":
                alone = logits(padded_ids(7)[[number], :length])
                np.testing.assert_allclose(alone, together[[number]], rtol=1e-12, err_msg=name)


@pytest.mark.usefixtures("keras_float64")
@pytest.mark.parametrize("model", SMALL)
def test_three_frameworks_take_the_same_steps(model: str, tmp_path: Path) -> None:
    """With gradient clipping, and without dropout."""
    chosen = [*SMALL[model], "trainer.precision=float64", "trainer.clip_norm=0.05", "optimizer.eps=1e-4"]
    random = np.random.default_rng(0)
    data = Examples(random.integers(1, TOKENS, (32, 8)), random.integers(0, 2, 32))
    texts: Any = SimpleNamespace(vocabulary=range(TOKENS), classes=("bad", "good"))
    learners = {
        framework: build_learner(imdb_config(tmp_path, f"framework={framework}", *chosen), texts)
        for framework in FRAMEWORKS
    }
    losses = assert_same_steps(learners, data)
    assert abs(losses[-1] - losses[0]) > 1e-4


def test_the_written_out_cell_is_torchs_rnn(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs, step = torch.nn.RNN(3, 4, batch_first=True).double(), torch.nn.RNNCell(3, 4).double()
    ours = torch_model.RnnCell(3, 4).double()
    ours.load_state_dict(theirs.state_dict())
    step.load_state_dict({name.removesuffix("_l0"): value for name, value in theirs.state_dict().items()})
    words, state = torch.randn(2, 7, 3, dtype=torch.float64), torch.randn(2, 4, dtype=torch.float64)
    upstream = torch.randn(2, 7, 4, dtype=torch.float64)
    close: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-12}
    torch.testing.assert_close(ours.step(words[:, 0], state), step(words[:, 0], state), **close)
    torch.testing.assert_close(ours(words)[0], theirs(words)[0], **close)
    torch.testing.assert_close(ours(words)[1], theirs(words)[1][0], **close)
    for network in (ours, theirs):
        (network(words)[0] * upstream).sum().backward()
    for (name, one), (_, other) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, **close, msg=name)
    config = imdb_config(tmp_path, "model=rnn_cell", "debug=smoke", "data.longest=50", "model.embedding=8")
    assert train(config).items() >= {"model": "rnn_cell", "status": "done"}.items()


def test_the_bidirectional_lstm_is_torchs_of_a_packed_sequence() -> None:
    torch.manual_seed(0)
    theirs = torch.nn.LSTM(3, 4, batch_first=True, bidirectional=True).double()
    ours = torch_model.PaddedBiLSTM(3, 4).double()
    ours.load_state_dict(theirs.state_dict())
    words, lengths = torch.randn(4, 7, 3, dtype=torch.float64), torch.tensor(LENGTHS)
    upstream = torch.randn(4, 7, 8, dtype=torch.float64)
    mask = torch.arange(7) < lengths[:, None]
    packed = pack_padded_sequence(words, lengths, batch_first=True, enforce_sorted=False)
    expected, _ = pad_packed_sequence(theirs(packed)[0], batch_first=True)
    states = ours(words, mask)[0] * mask[:, :, None]
    close: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-12}
    torch.testing.assert_close(states, expected, **close)
    (expected * upstream).sum().backward()
    (states * upstream).sum().backward()
    for (name, one), (_, other) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, **close, msg=name)


@pytest.mark.usefixtures("keras_float64")
def test_dropout_of_the_embedding_takes_channels_of_a_text_in_training_only(tmp_path: Path) -> None:
    overrides = [*BILSTM, NO_DROPOUT, "model.embedding_dropout=0.5"]
    config = imdb_config(tmp_path, *overrides).model
    in_torch, in_keras, in_numpy = build_networks(
        (torch_model, keras_model, numpy_model), config, tokens=TOKENS
    )
    ids = padded_ids(7)
    evaluated = in_numpy.eval().forward(ids)
    for logits in (in_torch.eval()(torch.from_numpy(ids)).detach(), in_keras(ids, training=False)):
        np.testing.assert_allclose(logits, evaluated, rtol=1e-12)
    assert np.abs(np.asarray(in_keras(ids, training=True)) - evaluated).max() > 0
    trained = in_numpy.train().forward(ids)
    in_numpy.backward(np.ones((4, 1)))
    kept = in_numpy.kept
    assert kept.shape == (4, 1, 6)
    assert set(np.unique(kept)) == {0.0, 2.0}
    in_torch.train().embedding_dropout.forward = lambda ones: ones * torch.from_numpy(kept)
    logits = in_torch(torch.from_numpy(ids))
    logits.sum().backward()
    np.testing.assert_allclose(logits.detach(), trained, rtol=1e-12)
    for name, parameter in in_torch.named_parameters():
        if parameter.grad is not None:
            np.testing.assert_allclose(
                in_numpy.grads[name], parameter.grad, rtol=1e-8, atol=1e-14, err_msg=name
            )


@pytest.mark.parametrize("dropouts", ["[0.5,0.0]", "[0.0,0.5]"])
def test_recurrent_dropout_acts_in_training_only(dropouts: str, tmp_path: Path) -> None:
    words = ["framework=keras", f"model.recurrent_dropout={dropouts}", "model.dropout=0.0"]
    network = keras_model.build_model(imdb_config(tmp_path, *words).model, TOKENS)
    ids = padded_ids(7)
    logits = [np.asarray(network(ids, training=training)) for training in (False, False, True)]
    np.testing.assert_array_equal(logits[0], logits[1])
    assert np.abs(logits[2] - logits[0]).max() > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("model=rnn_cell framework=numpy", "model=rnn_cell needs framework=torch"),
        ("model=bilstm model.readout=last", "model.readout"),
        ("model.recurrent_dropout=[0.2,0.2]", "model.recurrent_dropout needs framework=keras"),
    ],
)
def test_a_network_that_the_framework_lacks_is_refused(words: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        imdb_config(tmp_path, *words.split())


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("model", MODELS)
def test_a_run_leaves_everything_behind(framework: str, model: str, tmp_path: Path) -> None:
    small = {"nbsvm": "model.buckets=1000", "bilstm": "model.hidden=8"}.get(model, "model.embedding=8")
    config = imdb_config(tmp_path, f"framework={framework}", f"model={model}", "debug=smoke", small)
    metrics = train(config)
    assert {path.name for path in tmp_path.iterdir()} == FILES
    assert metrics == json.loads((tmp_path / "metrics.json").read_text())
    expected = {"app": "imdb_rnn", "dataset": "reviews", "embedded": True, "test_examples": 256}
    assert metrics.items() >= (expected | {"model": model, "framework": framework, "status": "done"}).items()


def test_log_count_ratios_are_those_of_the_paper() -> None:
    """Wang and Manning 2012, section 2, with sets of words and pairs."""
    random = np.random.default_rng(0)
    ids, labels = random.integers(1, 6, (20, 7)), random.integers(0, 3, 20)
    ids[:10, 5:] = PAD
    features = [{int(n) for n in words_and_pairs(row[None, row != PAD], 6, 9)[0]} for row in ids]
    for outputs, of_class in ((1, 1), (3, 2)):
        kept = np.flatnonzero(labels < 2) if outputs == 1 else np.arange(20)
        ratios = log_count_ratios(Examples(ids[kept], labels[kept]), 6, 9, outputs)
        counts = np.ones((2, 15))  # without the class, with it
        for n in kept:
            for row in features[n]:
                counts[int(labels[n] == of_class), row] += 1
        q, p = counts / counts.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(ratios[:, -1], np.log(p / q), rtol=1e-12)


@pytest.mark.usefixtures("keras_float64")
@pytest.mark.parametrize("model", MODELS)
def test_gradients_of_what_is_read(model: str, tmp_path: Path) -> None:
    """The same in three frameworks; a step along one of them changes the logit by as much."""
    in_torch, in_keras, in_numpy = networks_of(model, tmp_path)
    ids = padded_ids(7)[:2, :3]  # without padding
    embedded, gradients = torch_model.embedding_gradients(in_torch, ids, 0)
    assert (np.abs(gradients).max(axis=(0, 2)) > 0).all(), "every word moves something"
    for network, other in ((keras_model, in_keras), (numpy_model, in_numpy)):
        same, theirs = network.embedding_gradients(other, ids, 0)
        np.testing.assert_allclose(same, embedded, rtol=1e-12)
        np.testing.assert_allclose(theirs, gradients, rtol=1e-8, atol=1e-14)
    direction = np.random.default_rng(1).normal(size=embedded.shape) * 1e-6
    batch = torch.from_numpy(ids)
    with torch.no_grad():
        logits = [
            in_torch.read(torch.from_numpy(embedded + step), batch)[:, 0].numpy()
            for step in (direction, -direction)
        ]
        np.testing.assert_allclose(
            in_torch.read(torch.from_numpy(embedded), batch), in_torch(batch), rtol=1e-12
        )
    expected = 2 * (gradients * direction).sum(axis=(1, 2))
    np.testing.assert_allclose(logits[0] - logits[1], expected, rtol=1e-6)


def finished_run(folder: Path, *overrides: str) -> Path:
    """Train a bag of words on twelve texts and return the run's folder."""
    for name, words in (("bad", "awful dull"), ("good", "great fun")):
        (folder / "texts" / name).mkdir(parents=True, exist_ok=True)
        for number in range(12):
            (folder / "texts" / name / f"{number}.txt").write_text(f"a {words} film {words}")
    run = folder / f"run{len(list(folder.iterdir()))}"
    chosen = ["model=bow", "trainer.epochs=12", "trainer.batch_size=4", "optimizer.lr=0.05", *overrides]
    train(imdb_config(run, "data=text_folder", f"data.root={folder / 'texts'}", *chosen))
    return run


def open_run(folder: Path) -> FinishedRun[Config]:
    return FinishedRun.open(predict.APPLICATION, folder)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_prediction_and_the_words_that_moved_it(framework: str, tmp_path: Path) -> None:
    folder = finished_run(tmp_path, f"framework={framework}")
    run = open_run(folder)
    shutil.rmtree(tmp_path / "texts")  # the run folder has all that is needed
    words, unknown, probabilities, towards, effects = predict.explain(run, "AWFUL<br />dull film zxqw")
    assert words == ["awful", "dull", "film", "zxqw"]
    assert (list(probabilities), towards, unknown) == (["bad", "good"], "good", 1)
    assert effects[0] < -0.1, "awful moves it against good"
    assert sum(probabilities.values()) == pytest.approx(1)
    # A bag of words is linear: all effects and the bias sum to the logit.
    weights = read_weights(folder, read_metrics(folder))
    bias = float(weights["fc/bias" if framework == "keras" else "fc.bias"][0])
    logit = np.log(probabilities["good"] / probabilities["bad"])
    assert effects.sum() + bias == pytest.approx(logit, rel=1e-4)


def test_words_that_mean_something_to_matplotlib(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    """Formulas, a long text, a long word, and characters that its fonts lack."""
    run = open_run(finished_run(tmp_path))
    text = "a $5 - $10 film, $\\frac$ awful $_^$ " + "dull " * 1000 + "影 😀 " + "x" * 100_000
    prediction = predict.predict(run, text)
    assert prediction.text.startswith("bad: probability")
    assert len(prediction.text) < 1000
    assert prediction.chart.startswith(b"\x89PNG")
    assert not [one for one in recwarn if "missing from font" in str(one.message)]


def test_predictions_that_are_refused(tmp_path: Path) -> None:
    run, other = finished_run(tmp_path), finished_run(tmp_path, "seed=1", "data.vocabulary_size=3")
    with pytest.raises(ConfigError, match="knows none of these words: zxqw qwzx; its vocabulary"):
        predict.predict(open_run(run), "zxqw qwzx")
    with pytest.raises(ConfigError, match="the text has no words"):
        predict.predict(open_run(run), " ")
    vocabulary = (run / "vocabulary.txt").read_bytes()
    shutil.copy(other / "vocabulary.txt", run)
    with pytest.raises(DataError, match=r"vocabulary\.txt is damaged or another file"):
        predict.predict(open_run(run), "a film")
    (run / "vocabulary.txt").write_bytes(vocabulary)
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("embedding: 16", "embedding: 8"))
    with pytest.raises(DataError, match=r"config\.yaml does not belong to these weights"):
        predict.predict(open_run(run), "a film")
    (run / "vocabulary.txt").unlink()
    with pytest.raises(DataError, match=r"vocabulary\.txt cannot be read"):
        predict.predict(open_run(run), "a film")


@pytest.mark.usefixtures("keras_float64")
def test_a_tied_maximum_shares_its_gradient_in_all_frameworks(tmp_path: Path) -> None:
    """One word over and over: the LSTM's state comes to rest, and many steps have the maximum."""
    in_torch, in_keras, in_numpy = networks_of("lstm", tmp_path)
    ids = np.full((1, 400), 7)
    _, expected = torch_model.embedding_gradients(in_torch, ids, 0)
    assert (np.abs(expected).max(axis=2) > 1e-12).sum() > 5, "there are ties"
    for network, other in ((keras_model, in_keras), (numpy_model, in_numpy)):
        _, gradients = network.embedding_gradients(other, ids, 0)
        assert gradients.sum() == pytest.approx(expected.sum(), rel=1e-6)
    _, gradients = numpy_model.embedding_gradients(in_numpy, ids, 0)
    np.testing.assert_allclose(gradients.sum(axis=1), expected.sum(axis=1), rtol=1e-6)


def test_three_classes_have_a_logit_each(tmp_path: Path) -> None:
    (tmp_path / "texts" / "dull").mkdir(parents=True)
    for number in range(12):
        (tmp_path / "texts" / "dull" / f"{number}.txt").write_text("a long long film")
    run = open_run(finished_run(tmp_path, "trainer.epochs=20"))
    explanation = predict.explain(run, "such a long film")
    assert next(iter(explanation.probabilities)) == explanation.towards == "dull"
    assert sorted(explanation.probabilities) == ["bad", "dull", "good"]
    assert explanation.words[explanation.effects.argmax()] == "long"


def test_gradient_norms_by_time_step(tmp_path: Path) -> None:
    """An RNN's state fades: what was read 20 words before the end moves less than the last word."""
    common = ["debug=smoke", "data.longest=24", "model.embedding=8"]
    train(imdb_config(tmp_path / "rnn", "model=rnn", *common))
    norms = gradients.gradient_norms(tmp_path / "rnn")
    assert list(norms) == ["rnn, untrained", "rnn, trained"]
    for values in norms.values():
        assert values.shape == (24,)
        assert values[0] > 10 * values[20] > 0
    assert (norms["rnn, untrained"] != norms["rnn, trained"]).any()
    train(imdb_config(tmp_path / "bow", "model=bow", *common))
    with pytest.raises(ConfigError, match="a bag of words has no time steps"):
        gradients.gradient_norms(tmp_path / "bow")


@pytest.mark.slow
def test_order_is_what_tells_generated_reviews(tmp_path: Path) -> None:
    """The LSTM learns them, the bag of words and pairs of words does not."""
    common = ["data.train_limit=6000", "data.test_limit=1000", "trainer.batch_size=64"]
    small = ["model.embedding=32", "model.hidden=32", "trainer.epochs=4", "optimizer.lr=0.01"]
    lstm = train(imdb_config(tmp_path / "lstm", "model=lstm", *small, *common))
    bow = train(imdb_config(tmp_path / "bow", "model=bow", "trainer.epochs=3", *common))
    assert lstm["test_accuracy"] > 0.95
    assert bow["test_accuracy"] < 0.6


def test_batches_have_similar_lengths_and_every_document_once() -> None:
    lengths = np.random.default_rng(0).integers(1, 400, 6001)
    batches = batches_by_length(lengths, 64, seed=3, epoch=1)
    assert sorted(np.concatenate(batches)) == list(range(6001))
    read = sum(int(lengths[batch].max()) * len(batch) for batch in batches)
    assert read < 1.05 * lengths.sum(), "little is padded"
    firsts = [lengths[batch].mean() for batch in batches[:20]]
    assert firsts != sorted(firsts), "short ones do not come first"
    assert [b.tolist() for b in batches] != [
        b.tolist() for b in batches_by_length(lengths, 64, seed=3, epoch=2)
    ]


def test_the_split_holds_both_classes_and_keeps_the_test_set_out(tmp_path: Path) -> None:
    config = imdb_config(tmp_path, "data.train_limit=1000", "data.test_limit=300")
    texts = load_data(config)
    train_set, validation_set, test_set = split(texts, config)
    assert (len(train_set), len(validation_set), len(test_set)) == (900, 100, 300)
    for one in (train_set, validation_set, test_set):
        assert 0.35 < one.labels.mean() < 0.65
    everything = imdb_config(tmp_path, "data.train_limit=99999", "data.test_limit=99999")
    assert [len(one) for one in split(texts, everything)] == [22_500, 2_500, 5_000]


@pytest.mark.slow
def test_the_example_that_is_measured_beside_starts_without_tensorflows_notes() -> None:
    command = [sys.executable, "-c", "import tools.bench.keras_example_imdb"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("model", ["lstm", pytest.param("bow", marks=pytest.mark.slow)])
def test_texts_padded_at_the_front(model: str, tmp_path: Path) -> None:
    """As Keras's `pad_sequences` does, and predictions for single texts agree."""
    words = [f"model={model}", "debug=smoke", "model.embedding=8", "data.longest=40", "data.padding=front"]
    config = imdb_config(tmp_path, *words)
    texts, masked = load_data(config), load_data(imdb_config(tmp_path)).test
    filler = texts.vocabulary.index("<fill>")
    documents = np.split(masked.ids, masked.offsets[1:-1])
    expected = keras.utils.pad_sequences(documents, maxlen=40, value=filler)
    assert filler in expected
    np.testing.assert_array_equal(texts.test.ids.reshape(-1, 40), expected)
    ids = split(texts, config)[2].inputs[:]
    train(config)
    run = FinishedRun.open(predict.APPLICATION, tmp_path)
    text = " ".join(texts.decode(ids[0][ids[0] != filler]))
    explained = predict.explain(run, text)
    assert len(explained.effects) == len(explained.words) == (ids[0] != filler).sum()
    logit = run.learner.logits(ids[:1])[0, 0]
    assert explained.probabilities["pos"] == pytest.approx(1 / (1 + np.exp(-logit)), rel=1e-5)


def test_nbsvm_finds_the_first_occurrence_of_each_row() -> None:
    """Also in a batch of long texts, as `export` compares: all pairs of positions would be 2 GB."""
    rows = np.random.default_rng(0).integers(0, 1000, (250, 2999))
    network = torch_model.TorchNbsvm(Nbsvm(name="nbsvm", buckets=10), 990, 1)
    found = network.first_occurrences(torch.from_numpy(rows)).numpy()
    for row, is_first in zip(rows, found, strict=True):
        values, positions = np.unique(row, return_index=True)
        np.testing.assert_array_equal(np.flatnonzero(is_first), np.sort(positions[values != PAD]))
