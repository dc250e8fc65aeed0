"""model.pooling=sparse computes the same as plain: layers and whole training runs."""

import csv
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from shared.config import Pooling
from shared.training import conv_pool
from shared.training.keras_pooling import ConvMaxPool2D
from shared.training.torch_pooling import conv_max_pool
from tests.helpers import no_c_compiler, trained

if reason := no_c_compiler():
    pytest.skip(reason, allow_module_level=True)

Gradients = dict[str, NDArray[np.float32]]
# dX is rounded to bfloat16 in both; dW and db in plain, and in Keras also in sparse.
BOUNDS = {"float32": 3e-6, "bfloat16": 2**-7}


def in_torch(pooling: Pooling, precision: str, bias: bool) -> Gradients:
    torch.manual_seed(0)
    conv = nn.Conv2d(16, 24, 3, bias=bias)
    x = torch.randn(20, 16, 11, 12).bfloat16().float().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        pooled = conv_max_pool(conv, x, pooling)
    assert pooled.dtype == getattr(torch, precision)
    upstream = torch.randn(pooled.shape, generator=torch.Generator().manual_seed(1)).bfloat16()
    found: dict[str, torch.Tensor | None] = {"y": pooled.detach().clone()}
    F.relu_(pooled).backward(upstream.to(pooled.dtype))  # in place, as in the networks
    found |= {"x": x.grad}
    found |= {name: weight.grad for name, weight in conv.named_parameters()}
    return {name: values.detach().float().numpy() for name, values in found.items() if values is not None}


def in_keras(pooling: Pooling, precision: str, bias: bool) -> Gradients:
    keras.utils.set_random_seed(0)
    policy = "mixed_bfloat16" if precision == "bfloat16" else "float32"
    layer = ConvMaxPool2D(24, 3, pooling, use_bias=bias, dtype=policy)
    random = np.random.default_rng(0)
    x = tf.cast(tf.constant(random.standard_normal((20, 12, 11, 16), np.float32)), tf.bfloat16)
    x, upstream = tf.cast(x, precision), random.standard_normal((20, 5, 4, 24), np.float32)

    @tf.function
    def step() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            pooled = layer(x, training=True)
        watched = [x, *layer.trainable_variables]
        return [pooled, *tape.gradient(pooled, watched, tf.cast(upstream, pooled.dtype))]

    layer.build(x.shape)
    if bias:  # initially zeros
        layer.bias.assign(random.standard_normal(24, np.float32))
    names = ["y", "x", *(variable.name for variable in layer.trainable_variables)]
    return {name: tf.cast(tensor, tf.float32).numpy() for name, tensor in zip(names, step(), strict=True)}


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("layer", [in_torch, in_keras], ids=["torch", "keras"])
def test_sparse_and_plain_layers_agree(layer: object, precision: str, bias: bool) -> None:
    assert callable(layer)
    plain, sparse = layer("plain", precision, bias), layer("sparse", precision, bias)
    assert len(plain) == 3 + bias
    assert plain.keys() == sparse.keys()
    for name, expected in plain.items():
        scale = np.abs(expected).max()
        assert np.abs(sparse[name] - expected).max() <= BOUNDS[precision] * scale, name
    assert np.abs(sparse["y"] - plain["y"]).max() <= 1e-6 * np.abs(plain["y"]).max()


def test_only_training_calls_the_c_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluation, prediction and export need no compiler."""

    def refused(*_: object) -> None:
        raise AssertionError("the C code was called")

    monkeypatch.setattr(conv_pool, "max_pool", refused)
    monkeypatch.setattr(conv_pool, "library", refused)
    conv, x = nn.Conv2d(1, 2, 3), torch.randn(1, 1, 8, 8)
    conv_max_pool(conv.eval(), x.requires_grad_(), "sparse").sum().backward()
    conv_max_pool(conv.train(), x, "plain")
    conv_max_pool(conv.double(), x.double(), "sparse")
    conv_max_pool(nn.Conv2d(1, 2, 3, device="meta"), x.to("meta"), "sparse")
    with pytest.raises(AssertionError, match="was called"):
        conv_max_pool(conv.float(), x, "sparse")
    layer = ConvMaxPool2D(2, 3, "sparse")
    layer(tf.zeros((1, 8, 8, 1)), training=False)
    with pytest.raises(AssertionError, match="was called"):
        layer(tf.zeros((1, 8, 8, 1)), training=True)
    layer = ConvMaxPool2D(2, 3, "sparse", dtype="float64")
    layer(tf.zeros((1, 8, 8, 1), tf.float64), training=True)


def test_other_convolutions_are_refused() -> None:
    for options in ({"padding": "same"}, {"strides": 2}, {"activation": "relu"}):
        with pytest.raises(ValueError, match="expected a convolution without padding"):
            ConvMaxPool2D(2, 3, "plain", **options)
    layer = ConvMaxPool2D(2, 3, "sparse", name="conv")
    assert ConvMaxPool2D.from_config(layer.get_config()).pooling == "sparse"


def losses(folder: Path) -> NDArray[np.float64]:
    with open(folder / "steps.csv", newline="") as file:
        return np.array([float(row["loss"]) for row in csv.DictReader(file)])


@pytest.mark.parametrize("framework", ["torch", pytest.param("keras", marks=pytest.mark.slow)])
@pytest.mark.parametrize("model", ["cnn", "fast_cnn"])
def test_sparse_and_plain_training_take_the_same_steps(framework: str, model: str, tmp_path: Path) -> None:
    """In float32, where training amplifies rounding errors from step to step."""
    words = [f"framework={framework}", f"model={model}", "data=digits", "trainer.max_steps=12"]
    words.append("trainer.precision=float32")
    plain = losses(trained("mnist_cnn", tmp_path / "plain", *words, "model.pooling=plain"))
    sparse = losses(trained("mnist_cnn", tmp_path / "sparse", *words, "model.pooling=sparse"))
    assert len(plain) == 12
    assert plain[0] == pytest.approx(sparse[0], rel=1e-6)
    np.testing.assert_allclose(sparse, plain, rtol=1e-3)
    assert not np.array_equal(sparse, plain), "both used the same code"
