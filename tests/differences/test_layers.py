"""Layers, losses and initial values in torch and Keras."""

import inspect
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import torch
import torchvision.transforms  # type: ignore[import-untyped]
from keras.src.backend.torch import nn as backend_of_torch
from torch import nn
from torch.nn import functional as F

from shared.backprop import BatchNorm1d


def tensor(values: Any) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def array(value: Any) -> np.ndarray:
    return value.detach().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)


# Normalization


def test_batch_norm_momentum_has_opposite_meanings() -> None:
    """The mean of the inputs 0 and 2 is 1."""
    assert nn.BatchNorm1d(1).momentum == 0.1
    assert nn.BatchNorm1d(1).eps == 1e-5
    layer = keras.layers.BatchNormalization()
    assert (layer.momentum, layer.epsilon) == (0.99, 1e-3)
    x = np.array([[0.0], [2.0]])
    for momentum, expected in [(0.1, 0.1), (0.99, 0.99)]:
        module = nn.BatchNorm1d(1, momentum=momentum).double()
        module(tensor(x))
        assert module.get_buffer("running_mean").item() == pytest.approx(expected)
        layer = keras.layers.BatchNormalization(momentum=momentum)
        layer(x, training=True)
        assert float(layer.moving_mean[0]) == pytest.approx(1 - expected)


def test_the_running_variance_is_biased_in_keras() -> None:
    """The variance of the inputs 0 and 2 is 1 (biased) or 2 (unbiased); the running one starts at 1."""
    x = np.array([[0.0], [2.0]])
    module = nn.BatchNorm1d(1, eps=1e-3).double()
    y = array(module(tensor(x)))
    assert module.get_buffer("running_var").item() == pytest.approx(1.1)
    by_hand = BatchNorm1d(1, dtype=np.float64)
    by_hand.forward(x)
    assert by_hand.buffers["running_var"][0] == pytest.approx(1.1)
    layer = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-3)
    np.testing.assert_allclose(array(layer(x, training=True)), y, rtol=1e-9)  # the same output
    assert float(layer.moving_variance[0]) == pytest.approx(1.0)


def test_freezing_stops_the_running_statistics_in_keras_only() -> None:
    x = np.array([[0.0], [2.0]])
    layer = keras.layers.BatchNormalization()
    layer.build(x.shape)
    layer.trainable = False
    y = layer(x, training=True)
    assert float(layer.moving_mean[0]) == 0
    np.testing.assert_allclose(array(y), x, atol=2e-3)  # normalized with the running statistics, 0 and 1
    module = nn.BatchNorm1d(1).double().requires_grad_(False)
    torch_y = array(module(tensor(x)))
    assert module.get_buffer("running_mean").item() == pytest.approx(0.1)
    np.testing.assert_allclose(torch_y, [[-1], [1]], atol=1e-4)  # normalized with the batch's
    module.eval()(tensor(x))
    assert module.get_buffer("running_mean").item() == pytest.approx(0.1)


def test_layer_norm_epsilon() -> None:
    """The variance of the inputs 0 and 0.02 is 1e-4."""
    assert nn.LayerNorm(2).eps == 1e-5
    layer = keras.layers.LayerNormalization()
    assert layer.epsilon == 1e-3
    x = np.array([[0.0, 0.02]])
    assert array(nn.LayerNorm(2).double()(tensor(x)))[0, 1] == pytest.approx(0.953, abs=5e-4)
    assert array(layer(x))[0, 1] == pytest.approx(0.302, abs=5e-4)


# Convolution and pooling


def test_same_padding_adds_the_odd_position_at_the_end() -> None:
    """For 224 ones and a kernel of 7 ones, each output counts the positions inside the input."""
    layer = keras.layers.Conv1D(1, 7, 2, "same", use_bias=False, kernel_initializer="ones")
    y = array(layer(np.ones((1, 224, 1))))[0, :, 0]
    assert (len(y), y[0], y[-1]) == (112, 5, 4)  # pads 2 at the start, 3 at the end
    ones, kernel = torch.ones(1, 1, 224), torch.ones(1, 1, 7)
    usual = F.conv1d(ones, kernel, stride=2, padding=3)[0, 0]
    assert (len(usual), usual[0].item(), usual[-1].item()) == (112, 4, 5)
    as_keras = F.conv1d(F.pad(ones, (2, 3)), kernel, stride=2)[0, 0]
    np.testing.assert_array_equal(array(as_keras), y)
    with pytest.raises(ValueError, match="not supported for strided"):
        nn.Conv1d(1, 1, 7, 2, padding="same")


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_same_padding_agrees_without_a_stride() -> None:
    """An even kernel needs uneven padding: both pad the odd position at the end."""
    x, kernel = np.arange(1.0, 7.0), np.array([1.0, 10.0, 100.0, 1000.0])
    layer = keras.layers.Conv1D(1, 4, padding="same", use_bias=False)
    layer.build((1, 6, 1))
    layer.set_weights([kernel[:, None, None]])
    y = array(layer(x[None, :, None]))[0, :, 0]
    same = F.conv1d(tensor(x)[None, None], tensor(kernel)[None, None], padding="same")
    np.testing.assert_allclose(array(same)[0, 0], y, rtol=1e-12)
    assert y[0] == 3210  # one position at the start


def test_average_pooling_counts_the_padding_in_torch() -> None:
    ones = np.ones((1, 3, 3, 1))
    y = array(keras.layers.AveragePooling2D(2, 2, "same")(ones))
    np.testing.assert_array_equal(y, np.ones((1, 2, 2, 1)))
    images = tensor(ones[..., 0])
    padded = F.avg_pool2d(images, 2, 2, padding=1)[0]
    assert padded[0, 0] == 0.25
    without = F.avg_pool2d(images, 2, 2, padding=1, count_include_pad=False)[0]
    assert without[0, 0] == 1


def test_flattening_orders_by_channel_or_by_pixel() -> None:
    """2 x 2 pixels with 0 to 3 in the first channel and 10 to 13 in the second."""
    images = np.array([[[[0, 1], [2, 3]], [[10, 11], [12, 13]]]])  # (N, C, H, W)
    of_torch = array(nn.Flatten()(torch.tensor(images)))[0]
    of_keras = array(keras.layers.Flatten()(images.transpose(0, 2, 3, 1)))[0]
    assert of_torch.tolist() == [0, 1, 2, 3, 10, 11, 12, 13]
    assert of_keras.tolist() == [0, 10, 1, 11, 2, 12, 3, 13]
    order = np.arange(8).reshape(2, 2, 2).transpose(1, 2, 0).ravel()
    assert of_torch[order].tolist() == of_keras.tolist()


def test_keras_refuses_a_stride_together_with_dilation() -> None:
    x = np.ones((1, 9, 9, 2))
    with pytest.raises(ValueError, match="not supported in conjunction"):
        keras.layers.Conv2D(3, 3, strides=2, dilation_rate=2)(x)
    assert nn.Conv2d(2, 3, 3, stride=2, dilation=2)(torch.ones(1, 2, 9, 9)).shape == (1, 3, 3, 3)


def grouped_gradient(convolve: Any, dtype: str) -> np.ndarray:
    rng = np.random.default_rng(0)
    x = tf.constant(rng.normal(size=(1, 5, 5, 2)), dtype)
    kernel = tf.constant(rng.normal(size=(3, 3, 1, 4)), dtype)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.reduce_sum(convolve(x, kernel) ** 2)
    return np.asarray(tape.gradient(y, x))


def test_the_gradient_of_a_grouped_convolution() -> None:
    def plain(x: Any, kernel: Any) -> Any:
        return tf.nn.conv2d(x, kernel, 1, "VALID")

    with pytest.raises(tf.errors.InvalidArgumentError, match="not supported on CPU"):
        grouped_gradient(plain, "float64")
    rng = np.random.default_rng(0)
    x = tensor(rng.normal(size=(1, 5, 5, 2))).requires_grad_()
    kernel = tensor(rng.normal(size=(3, 3, 1, 4)))
    y = F.conv2d(x.permute(0, 3, 1, 2), kernel.permute(3, 2, 0, 1), groups=2)
    (expected,) = torch.autograd.grad((y**2).sum(), x)
    of_keras = grouped_gradient(keras.ops.conv, "float64")
    np.testing.assert_allclose(of_keras, array(expected), rtol=1e-9, atol=1e-12)
    single = grouped_gradient(plain, "float32")
    np.testing.assert_allclose(single, array(expected), rtol=1e-4, atol=1e-4)


def test_resizing_without_antialiasing() -> None:
    """From 8 x 8 to 5 x 5 and to 13 x 13; TensorFlow computes in float32."""
    image = np.random.default_rng(0).normal(size=(1, 8, 8, 1))
    channels_first = tensor(image).permute(0, 3, 1, 2)

    def differences(method: str, size: int) -> list[float]:
        of_keras = array(keras.ops.image.resize(image, (size, size), interpolation=method))
        of_torch = (
            F.interpolate(channels_first, size=(size, size), mode=method, antialias=smooth)
            for smooth in (False, True)
        )
        return [abs(array(y)[0, 0] - of_keras[0, :, :, 0]).max() for y in of_torch]

    plain, smooth = differences("bilinear", 5)
    assert plain < 1e-5
    assert smooth > 0.5
    plain, smooth = differences("bicubic", 13)
    assert plain > 0.1
    assert smooth < 0.01
    assert inspect.signature(torchvision.transforms.Resize).parameters["antialias"].default is True


# Activations, dropout and initial values


def test_gelu_has_two_defaults_in_keras() -> None:
    x = np.linspace(-3, 3, 13)
    exact, tanh = (array(F.gelu(tensor(x), approximate=kind)) for kind in ("none", "tanh"))
    assert abs(exact - tanh).max() == pytest.approx(4.4e-4, rel=0.01)
    np.testing.assert_array_equal(array(F.gelu(tensor(x))), exact)
    given = keras.ops.convert_to_tensor(x)
    np.testing.assert_allclose(array(keras.activations.gelu(given)), exact, atol=1e-8)
    np.testing.assert_allclose(array(keras.layers.Activation("gelu")(given)), exact, atol=1e-8)
    np.testing.assert_allclose(array(keras.ops.gelu(given)), tanh, atol=1e-8)
    np.testing.assert_allclose(array(keras.ops.nn.gelu(given)), tanh, atol=1e-8)


def test_initial_weights_of_a_dense_layer() -> None:
    """With 100 inputs and 50 outputs, the bounds are 1 / sqrt(100) in torch, sqrt(6 / 150) in Keras."""
    assert nn.init.calculate_gain("leaky_relu", 5**0.5) == pytest.approx((1 / 3) ** 0.5)
    layer = keras.layers.Dense(50)
    layer.build((1, 100))
    kernel, bias = (np.asarray(w) for w in layer.get_weights())
    assert abs(kernel).max() == pytest.approx(0.2, rel=0.01)
    assert not bias.any()
    module = nn.Linear(100, 50)
    assert abs(array(module.weight)).max() == pytest.approx(0.1, rel=0.01)
    assert abs(array(module.bias)).max() == pytest.approx(0.1, rel=0.2)


def test_initial_weights_of_an_embedding() -> None:
    layer = keras.layers.Embedding(100, 50)
    layer.build((1,))
    table = np.asarray(layer.embeddings)
    assert abs(table).max() == pytest.approx(0.05, rel=0.01)
    assert table.std() == pytest.approx(0.0289, rel=0.05)
    of_torch = array(nn.Embedding(100, 50).weight)
    assert of_torch.std() == pytest.approx(1, rel=0.05)
    assert abs(of_torch).max() > 3


def test_dropout_has_the_same_formula_and_other_random_numbers() -> None:
    ones = np.ones(1000)
    of_keras = array(keras.layers.Dropout(0.75)(ones, training=True))
    of_torch = array(nn.Dropout(0.75)(tensor(ones)))
    assert set(of_keras) == set(of_torch) == {0, 4}
    assert (of_keras != of_torch).sum() > 100
    assert of_keras.mean() == pytest.approx(1, abs=0.2)
    assert of_torch.mean() == pytest.approx(1, abs=0.2)


# Losses


@pytest.mark.parametrize(("restore", "weight"), [(False, 0.375), (True, 1.5)])
def test_early_stopping_keeps_the_last_weights_in_keras(restore: bool, weight: float) -> None:
    """A weight of 3, 1.5, 0.75, 0.375 on its way to 0, where 2 would be right for validation."""
    options: Any = {"use_bias": False, "kernel_initializer": keras.initializers.Constant(3.0)}
    layer = keras.layers.Dense(1, **options)
    model = keras.Sequential([keras.Input((1,)), layer])
    model.compile(keras.optimizers.SGD(0.25), "mse")
    one = np.ones((1, 1))
    stopping = keras.callbacks.EarlyStopping(patience=2, restore_best_weights=restore)
    validation = (one, 2 * one)
    history = model.fit(one, 0 * one, validation_data=validation, epochs=9, callbacks=[stopping], verbose=0)
    assert history.history["val_loss"] == [0.25, 1.5625, 2.640625]
    assert float(layer.kernel[0, 0]) == weight
    default = inspect.signature(keras.callbacks.EarlyStopping).parameters["restore_best_weights"]
    assert default.default is False


def test_label_smoothing() -> None:
    """For class 0 of 3 and smoothing 0.3, the target is 0.8, 0.1, 0.1."""
    logits = np.array([[0.0, 1.0, 3.0]])
    of_torch = F.cross_entropy(tensor(logits), torch.tensor([0]), label_smoothing=0.3).item()
    smoothed = np.array([[0.8, 0.1, 0.1]])
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.3)
    assert float(loss(np.array([[1.0, 0.0, 0.0]]), logits)) == pytest.approx(of_torch, rel=1e-7)
    assert F.cross_entropy(tensor(logits), tensor(smoothed)).item() == pytest.approx(of_torch)
    binary = keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.3)
    target = F.binary_cross_entropy_with_logits(tensor([2.0]), tensor([0.85])).item()
    assert float(binary(np.array([1.0]), np.array([2.0]))) == pytest.approx(target, rel=1e-7)
    assert "label_smoothing" not in inspect.signature(nn.BCEWithLogitsLoss).parameters
    sparse = inspect.signature(keras.losses.SparseCategoricalCrossentropy).parameters
    assert "label_smoothing" not in sparse


def test_class_weights_change_the_divisor() -> None:
    """Two examples with losses of log 2 and weights 1 and 3."""
    logits = np.zeros((2, 2))
    labels, weights = np.array([0, 1]), np.array([1.0, 3.0])
    of_torch = F.cross_entropy(tensor(logits), torch.tensor(labels), weight=tensor(weights))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    assert of_torch.item() == pytest.approx(0.693, abs=5e-4)
    assert float(loss(labels, logits, sample_weight=weights)) == pytest.approx(1.386, abs=5e-4)


def saturated(cut: bool) -> tuple[float, float]:
    """Return the loss of the logits 0 and 40 for class 0, and the largest number of its gradient."""
    logits = tf.constant([[0.0, 40.0]], "float64")
    with tf.GradientTape() as tape:
        tape.watch(logits)
        p = keras.layers.Softmax()(logits)
        loss = keras.losses.CategoricalCrossentropy()(np.array([[1.0, 0.0]]), tf.identity(p) if cut else p)
    return float(loss), float(abs(np.asarray(tape.gradient(loss, logits))).max())


def test_keras_on_tensorflow_recovers_the_logits() -> None:
    assert list(saturated(cut=False)) == pytest.approx([40, 1])
    loss, gradient = saturated(cut=True)
    assert loss == pytest.approx(16.118, abs=5e-4)
    assert gradient == 0
    logits = tensor([[0.0, 40.0]]).requires_grad_()
    twice = F.cross_entropy(logits.softmax(1), torch.tensor([0]))
    (slope,) = torch.autograd.grad(twice, logits)
    assert twice.item() == pytest.approx(1.313, abs=5e-4)
    assert abs(slope).max() < 1e-15


def test_keras_on_torch_differs_from_keras_on_tensorflow() -> None:
    """A process has one backend, so call torch's functions directly. Pooling averages 1, 2, 3, 4, 5."""
    logits = tensor([[0.0, 40.0]]).requires_grad_()
    on_torch: Any = backend_of_torch
    loss = on_torch.categorical_crossentropy(tensor([[1.0, 0.0]]), logits.softmax(1))
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert loss.item() == pytest.approx(16.118, abs=5e-4)
    assert abs(gradient).max() == 0
    x = np.arange(1.0, 6.0)[None, :, None]
    here = [array(keras.layers.AveragePooling1D(size, 1, "same")(x)).ravel() for size in (3, 4)]
    there = [
        array(on_torch.average_pool(tensor(x), size, 1, "same", "channels_last")).ravel() for size in (3, 4)
    ]
    assert here[0].tolist() == there[0].tolist() == [1.5, 2, 3, 4, 4.5]
    assert here[1].tolist() == [2, 2.5, 3.5, 4, 4.5]
    assert there[1].tolist() == [1.75, 2.5, 3.5, 4.25, 4.75]


# Operations


def test_keras_adds_a_bias_along_the_wrong_axis() -> None:
    """NumPy adds b (3, 1) = 0, 1, 2 along the third axis of x (N, T, 3, 1)."""
    b = np.arange(3.0)[:, None]
    for steps, wrong in [(3, True), (4, False)]:
        x = np.zeros((1, steps, 3, 1))
        y = array(keras.ops.add(x, b))[0, :, :, 0]
        assert (x + b)[0, :, :, 0].tolist() == [[0, 1, 2]] * steps
        expected = [[0] * 3, [1] * 3, [2] * 3] if wrong else [[0, 1, 2]] * steps
        assert y.tolist() == expected
    square = np.zeros((1, 3, 3, 1))
    assert array(tf.add(square, b))[0, :, :, 0].tolist() == [[0, 1, 2]] * 3
    assert array(tensor(square) + tensor(b))[0, :, :, 0].tolist() == [[0, 1, 2]] * 3
