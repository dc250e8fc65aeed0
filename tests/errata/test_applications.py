"""The tutorials' Keras applications, as published and corrected."""

import importlib
from importlib.metadata import version
from typing import Any

import numpy as np
import pytest

from shared.backprop import Array


@pytest.fixture(name="keras", scope="module")
def _keras() -> Any:
    """Import Keras late, so that only these tests wait for TensorFlow."""
    return importlib.import_module("keras")


def build(keras: Any) -> Any:
    dense = [keras.layers.Dense(128, "relu"), keras.layers.Dense(64, "relu")]
    network = keras.Sequential([keras.Input((784,)), *dense, keras.layers.Dense(10, "softmax")])
    network.compile("adam", "categorical_crossentropy", run_eagerly=True)
    return network


def test_runs_differ_without_a_seed(keras: Any) -> None:
    rng = np.random.default_rng(0)
    images, labels = rng.random((64, 784), np.float32), np.eye(10)[rng.integers(10, size=64)]

    def train(seed: int | None) -> Array:
        if seed is not None:
            keras.utils.set_random_seed(seed)
        network = build(keras)
        network.fit(images, labels, batch_size=32, verbose=0)
        return np.asarray(network.get_weights()[0])

    assert np.abs(train(None) - train(None)).max() > 0.01
    assert np.array_equal(train(1), train(1))


def test_the_network_is_dense_and_not_convolutional(keras: Any) -> None:
    network = build(keras)
    assert {len(weight.shape) for weight in network.get_weights()} == {1, 2}
    images = np.random.default_rng(0).random((5, 784), np.float32)
    order = np.random.default_rng(1).permutation(784)
    expected = np.asarray(network(images))
    first = network.layers[0]
    kernel, bias = first.get_weights()
    first.set_weights([kernel[order], bias])  # a dense layer ignores which pixels are neighbors
    np.testing.assert_allclose(np.asarray(network(images[:, order])), expected, rtol=1e-4)


@pytest.mark.filterwarnings("error")
def test_keras_warns_about_input_shape(keras: Any) -> None:
    with pytest.warns(UserWarning, match="Do not pass an `input_shape`"):
        keras.layers.Dense(8, input_shape=(4,))
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(8)])


def test_recurrent_dropout_rules_out_the_fused_kernel(keras: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    requests: list[bool] = []

    def fused(*arguments: object, **options: object) -> None:
        requests.append(True)
        raise NotImplementedError  # Keras then continues step by step

    monkeypatch.setattr("keras.src.backend.lstm", fused)
    words = np.zeros((2, 5, 3), np.float32)
    keras.layers.LSTM(4, dropout=0.2, recurrent_dropout=0.2)(words, training=True)
    assert not requests
    keras.layers.LSTM(4, dropout=0.2)(words, training=True)
    assert requests


def test_padded_zeros_are_read_as_words(keras: Any) -> None:
    review, moved = np.arange(1, 11), []
    for mask in (False, True):
        keras.utils.set_random_seed(0)
        network = keras.Sequential([keras.layers.Embedding(50, 8, mask_zero=mask), keras.layers.LSTM(8)])
        short, long = (
            np.asarray(network(keras.utils.pad_sequences([review], maxlen=length))) for length in (10, 50)
        )
        moved.append(float(np.linalg.norm(long - short) / np.linalg.norm(short)))
    assert moved[0] == pytest.approx(0.39, abs=0.01)
    assert moved[1] == 0


def test_a_layer_that_is_imported_and_not_used(keras: Any) -> None:
    images = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    np.testing.assert_array_equal(np.asarray(keras.layers.Flatten()(images)), images.reshape(2, -1))


def test_an_lstm_is_not_a_simple_rnn(keras: Any) -> None:
    words = np.zeros((1, 5, 128), np.float32)
    layers = [kind(64) for kind in (keras.layers.SimpleRNN, keras.layers.LSTM)]
    for layer in layers:
        layer(words)
    assert [layer.count_params() for layer in layers] == [12_352, 49_408]


def test_two_arguments_called_dropout(keras: Any) -> None:
    """With a single word there is no previous state, so that `recurrent_dropout` has nothing to drop."""
    word = np.ones((1, 1, 3), np.float32)
    changed = []
    for options in ({"dropout": 0.9}, {"recurrent_dropout": 0.9}):
        layer = keras.layers.LSTM(4, **options)
        outputs = [np.asarray(layer(word, training=True)) for _ in range(9)]
        changed.append(len({output.tobytes() for output in outputs}) > 1)
    assert changed == [True, False]


def test_calls_that_torchtext_lacks() -> None:
    assert version("torchtext") == "0.6.0"
    datasets, vocab = (importlib.import_module(f"torchtext.{name}") for name in ("datasets", "vocab"))
    with pytest.raises(TypeError):
        datasets.IMDB(split="train")
    with pytest.raises(TypeError):
        vocab.build_vocab_from_iterator([["a"]], specials=["<unk>"])
