"""The C code of a convolution with max pooling against torch, in float64 and float32."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.nn import functional as F

from shared.training import conv_pool
from tests.helpers import no_c_compiler

if reason := no_c_compiler():
    pytest.skip(reason, allow_module_level=True)

# float32 rounds to 6e-8; a sum of up to 200,000 products, of both signs, to a few times that.
ROUNDING = 3e-6
HALF_ULP = 2**-8  # of bfloat16, relative
BOTH_PRECISIONS = pytest.mark.parametrize("low", [False, True], ids=["float32", "bfloat16"])


@dataclass
class Layer:
    """A convolution with inputs and a gradient, all numbers exact in bfloat16."""

    x: torch.Tensor  # (N, C, H, W)
    weight: torch.Tensor  # (K, C, R, S)
    bias: torch.Tensor  # (K,)
    seed: int = 0

    @classmethod
    def random(cls, n: int, c: int, h: int, w: int, k: int, r: int, s: int, seed: int = 0) -> "Layer":
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, generator=generator).bfloat16().float()

        return cls(normal(n, c, h, w), normal(k, c, r, s), normal(k), seed)

    def upstream(self, shape: torch.Size) -> torch.Tensor:
        """Return a gradient with zeros in it, as ReLU and dropout leave them."""
        generator = torch.Generator().manual_seed(self.seed + 1)
        gradient = torch.randn(shape, generator=generator).bfloat16()
        return (gradient * (torch.rand(shape, generator=generator) < 0.4)).float()

    def places(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return y in float32, and where torch finds its maxima in their windows."""
        y = F.conv2d(self.x, self.weight, self.bias)
        _, index = F.max_pool2d(y, 2, return_indices=True)
        row, column = index // y.shape[3], index % y.shape[3]
        return y, row % 2 * 2 + column % 2

    def expected(self) -> tuple[NDArray[Any], ...]:
        """Return dx, dw and db in float64 by torch's autograd; the maxima are those of float32."""
        _, places = self.places()
        wide = [t.double().requires_grad_() for t in (self.x, self.weight, self.bias)]
        out = F.conv2d(wide[0], wide[1], wide[2])
        windows = F.unfold(out.flatten(0, 1)[:, None], 2, stride=2)
        windows = windows.view(*out.shape[:2], 4, *places.shape[2:])
        maxima = windows.gather(2, places[:, :, None])[:, :, 0]
        maxima.backward(self.upstream(maxima.shape).double())
        return tuple(t.grad.numpy() for t in wide if t.grad is not None)

    def found(self, low: bool = False, threads: int = 2) -> tuple[NDArray[Any], ...]:
        """Return dx, dw and db by the C code, in torch's order of axes."""
        y, _ = self.places()
        maxima, where = conv_pool.max_pool(arrays(y.permute(0, 2, 3, 1), False), threads)
        dy = self.upstream(torch.Size(maxima.shape))
        dx, dw, db = conv_pool.gradients(
            arrays(self.x.permute(0, 2, 3, 1), low),
            arrays(self.weight.permute(0, 2, 3, 1), False),
            arrays(dy, low),
            where,
            threads,
        )
        return wide(dx).transpose(0, 3, 1, 2), dw.transpose(0, 3, 1, 2), db


def arrays(values: torch.Tensor, low: bool) -> NDArray[Any]:
    """Return contiguous float32, or the bits of bfloat16."""
    values = values.contiguous()
    return (values.bfloat16().view(torch.uint16) if low else values).numpy()


def wide(values: NDArray[Any]) -> NDArray[Any]:
    """Return bits of bfloat16 as float32, anything else as it is."""
    if values.dtype != np.uint16:
        return values
    return (values.astype(np.uint32) << 16).view(np.float32)


def difference(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """Return the largest difference, relative to the largest number."""
    with np.errstate(invalid="ignore"):  # of what a planted fault has not written
        return float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-30))


def wrong(layer: Layer, low: bool) -> list[str]:
    """Return the names of the wrong gradients."""
    bounds = {"dx": HALF_ULP + ROUNDING if low else ROUNDING, "dw": ROUNDING, "db": ROUNDING}
    pairs = zip(bounds, layer.found(low), layer.expected(), strict=True)
    return [name for name, found, exact in pairs if not difference(found, exact) <= bounds[name]]


# Odd and even sizes, more than a block of images, runs shorter and longer than the registers
LAYERS = [
    (1, 1, 2, 2, 1, 1, 1),
    (9, 3, 9, 8, 5, 3, 3),
    (17, 16, 12, 12, 32, 5, 5),
    (8, 32, 10, 11, 7, 3, 3),
    (2, 64, 7, 9, 3, 3, 3),
    (3, 43, 6, 6, 4, 1, 3),
    (2, 5, 6, 12, 4, 4, 1),
]


@BOTH_PRECISIONS
@pytest.mark.parametrize("sizes", LAYERS, ids=str)
def test_the_gradients_agree_with_float64(sizes: tuple[int, ...], low: bool) -> None:
    assert wrong(Layer.random(*sizes), low) == []


@settings(max_examples=60, deadline=None)
@given(*(st.integers(1, high) for high in (18, 20, 6, 6, 9, 4, 4)), st.booleans(), st.integers(0, 99))
def test_the_gradients_of_random_sizes_agree_with_float64(
    n: int, c: int, more_h: int, more_w: int, k: int, r: int, s: int, low: bool, seed: int
) -> None:
    layer = Layer.random(n, c, r + more_h, s + more_w, k, r, s, seed)
    assert wrong(layer, low) == []


@BOTH_PRECISIONS
def test_maxima_and_positions_equal_torchs(low: bool) -> None:
    """Among many equal numbers, both zeros, infinities and NaN."""
    generator = np.random.default_rng(0)
    choice = np.array([0.0, -0.0, 1.0, 2.0, -1.0, np.inf, -np.inf, np.nan], np.float32)
    y = torch.from_numpy(generator.choice(choice, (5, 7, 9, 11)))
    expected, index = F.max_pool2d(y, 2, return_indices=True)
    maxima, where = conv_pool.max_pool(arrays(y.permute(0, 2, 3, 1), low), 2)
    assert np.array_equal(wide(maxima), expected.numpy(), equal_nan=True)
    places = index // 11 % 2 * 2 + index % 11 % 2
    assert np.array_equal(where, places.numpy())
    assert len(set(where.ravel().tolist())) == 4


@BOTH_PRECISIONS
def test_the_order_of_the_maxima_changes_no_bit(low: bool) -> None:
    layer = Layer.random(9, 6, 9, 12, 5, 3, 3)
    y, x = (arrays(values.permute(0, 2, 3, 1), low) for values in (layer.places()[0], layer.x))
    maxima, where = conv_pool.max_pool(y, 2)
    maxima_last, same_where = conv_pool.max_pool(y, 2, channels_last=True)
    assert np.array_equal(maxima_last.transpose(0, 3, 1, 2), maxima)
    assert np.array_equal(same_where, where)
    weight = arrays(layer.weight.permute(0, 2, 3, 1), False)
    dy = arrays(layer.upstream(torch.Size(maxima.shape)), low)
    dy_last = np.ascontiguousarray(dy.transpose(0, 2, 3, 1))
    expected = conv_pool.gradients(x, weight, dy, where, 2)
    found = conv_pool.gradients(x, weight, dy_last, where, 2, channels_last=True)
    assert all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))
    for gradient, channels_last in ((dy, True), (dy_last, False)):
        with pytest.raises(ValueError, match="expected gradients"):
            conv_pool.gradients(x, weight, gradient, where, 2, channels_last)


def test_the_bits_do_not_depend_on_threads() -> None:
    layer = Layer.random(37, 8, 12, 12, 16, 3, 3)
    one, two, three = (layer.found(threads=count) for count in (1, 2, 3))
    for first, second, third in zip(one, two, three, strict=True):
        assert first.tobytes() == second.tobytes() == third.tobytes()


def test_each_block_of_images_has_its_own_sum() -> None:
    """Otherwise threads would race for the same numbers."""
    random = np.random.default_rng(0)
    x = random.standard_normal((21, 7, 7, 6), np.float32)
    weight = random.standard_normal((5, 3, 3, 6), np.float32)
    dy = random.standard_normal((21, 5, 2, 2), np.float32)
    where = random.integers(0, 4, dy.shape, np.uint8)
    dx, dw, db = conv_pool.gradients(x, weight, dy, where, 2)
    apart = [
        conv_pool.gradients(x[part], weight, dy[part], where[part], 1)
        for part in (slice(0, 8), slice(8, 16), slice(16, 21))
    ]
    assert np.array_equal(dx, np.concatenate([part[0] for part in apart]))
    assert np.array_equal(dw, apart[0][1] + apart[1][1] + apart[2][1])
    assert np.array_equal(db, apart[0][2] + apart[1][2] + apart[2][2])


@pytest.mark.parametrize("value", [np.nan, np.inf])
@BOTH_PRECISIONS
def test_non_finite_numbers_propagate(value: float, low: bool) -> None:
    """Otherwise training would continue after diverging. All unrelated numbers stay finite."""
    for name, place in (("x", (1, 2, 3, 3)), ("weight", (1, 2, 1, 1))):
        layer = Layer.random(2, 4, 6, 6, 3, 3, 3)
        getattr(layer, name)[place] = value
        dx, dw, _ = layer.found(low)
        touched, other = (dw, dx) if name == "x" else (dx, dw)
        assert not np.isfinite(touched[:, 2]).all()
        assert np.isfinite(touched[:, [0, 1, 3]]).all()
        assert np.isfinite(other).all()


def test_wrong_dtypes_and_shapes_are_refused() -> None:
    y = np.zeros((1, 4, 4, 3), np.float32)
    with pytest.raises(ValueError, match="float32 or bits of bfloat16, given float16"):
        conv_pool.max_pool(y.astype(np.float16), 1)
    with pytest.raises(ValueError, match="contiguous"):
        conv_pool.max_pool(y[:, :, :, ::2], 1)
    maxima, where = conv_pool.max_pool(y, 1)
    weight = np.zeros((3, 1, 1, 2), np.float32)
    x = np.zeros((1, 4, 4, 2), np.float32)
    for dy, places in ((maxima[:, :2], where), (maxima.astype(np.float64), where), (maxima, where[:, :2])):
        with pytest.raises(ValueError, match="expected gradients"):
            conv_pool.gradients(x, weight, dy, places, 1)
    with pytest.raises(ValueError, match="expected contiguous uint8, given float32"):
        conv_pool.gradients(x, weight, maxima, maxima, 1)
    with pytest.raises(ValueError, match="given uint8"):
        conv_pool.max_pool(y.astype(np.uint8), 1)


def test_bfloat16_is_rounded_to_nearest_even() -> None:
    """dX is one product, dY times W: halfway between two numbers of bfloat16, or close to it."""
    dy = torch.tensor([1 + 2**-7, 1 + 3 * 2**-7, 1 + 2**-6, -1 - 2**-7]).view(4, 1, 1, 1)
    weight = np.array([1 + 2**-7], np.float32).reshape(1, 1, 1, 1)
    x = np.zeros((4, 2, 2, 1), np.uint16)
    where = np.full((4, 1, 1, 1), 2, np.uint8)
    dx, _, _ = conv_pool.gradients(x, weight, arrays(dy, True), where, 1)
    expected = torch.zeros(4, 2, 2)
    expected[:, 1, 0] = (dy * float(weight[0, 0, 0, 0])).bfloat16().float().ravel()
    assert np.array_equal(wide(dx)[..., 0], expected.numpy())


FAULTS = {
    "the last of equal maxima": ("(value > most[k])", "(value >= most[k])"),
    "NaN is overlooked": (" | (value != value)", ""),
    "the kernel's rows turned": ("x + r * s->width", "x + (s->rows - 1 - r) * s->width"),
    "the place in the window forgotten": (
        "2 * (place / 4 % d->pooled_width) + (place & 1)",
        "2 * (place / 4 % d->pooled_width)",
    ),
    "a run too short": ("run / LANES) {", "(run - 1) / LANES) {"),
    "one image of each block left out": (
        "n = block * IMAGES_PER_BLOCK;",
        "n = block * IMAGES_PER_BLOCK + 1;",
    ),
    "all blocks in one sum": ("dw + block * s->filters", "dw + 0 * s->filters"),
    "no gradient of the bias": ("db[k] += own.factors[i];", ";"),
    "the input's gradient is not cleared": ("memset(gradient, 0, 4 * (d.image + d.run));", ";"),
    "rows and columns confused": ("from[row * columns + column]", "from[column * rows + row]"),
    "the gradient transposed wrongly": (
        "above_last, d.windows, s->filters)",
        "above_last, s->filters, d.windows)",
    ),
    "maxima always channels first": ("s->channels_last ? maxima : transposed", "transposed"),
    "bfloat16 cut off": ("bits + 0x7fff + (bits >> 16 & 1)", "bits"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_planted_faults_are_found(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = conv_pool.SOURCE.read_text()
    right, faulty = FAULTS[name]
    assert source.count(right) == 1
    (tmp_path / "faulty.c").write_text(source.replace(right, faulty))
    monkeypatch.setattr(conv_pool, "SOURCE", tmp_path / "faulty.c")
    monkeypatch.setattr(conv_pool, "CACHE", tmp_path)
    conv_pool.kernel_path.cache_clear()
    faulty_library = conv_pool.library.__wrapped__()  # bypasses the cache
    conv_pool.kernel_path.cache_clear()
    monkeypatch.setattr(conv_pool, "library", lambda: faulty_library)
    checks: list[Callable[[], Any]] = [
        *(
            partial(test_the_gradients_agree_with_float64, sizes, low)
            for sizes in LAYERS
            for low in (False, True)
        ),
        lambda: test_maxima_and_positions_equal_torchs(False),
        test_bfloat16_is_rounded_to_nearest_even,
        lambda: test_the_order_of_the_maxima_changes_no_bit(False),
        test_each_block_of_images_has_its_own_sum,
    ]
    assert any(map(fails, checks))


def fails(check: Callable[[], Any]) -> bool:
    try:
        check()
    except AssertionError:
        return True
    return False
