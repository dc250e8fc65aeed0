"""ByteDropout against its definition and against torch's dropout."""

import pytest
import torch
from torch import nn

from shared.training.torch_layers import ByteDropout


@pytest.mark.parametrize("p", [0.25, 0.5, 0.1, 0.9, 0.999])
def test_the_share_of_zeros_and_the_mean_are_right(p: float) -> None:
    torch.manual_seed(0)
    count = 1_000_000
    dropped = ByteDropout(p)(torch.ones(count, dtype=torch.float64))
    exact = round(p * 256) / 256 if p < 0.998 else 255 / 256
    spread = (exact * (1 - exact) / count) ** 0.5
    assert (dropped == 0).double().mean().item() == pytest.approx(exact, abs=5 * spread)
    assert dropped.mean().item() == pytest.approx(1, abs=5 * spread / (1 - exact))
    assert dropped.unique().tolist() == pytest.approx([0, 1 / (1 - exact)])


def test_every_byte_of_a_word_is_random() -> None:
    torch.manual_seed(0)
    zeros = (ByteDropout(0.5)(torch.ones(800_000)) == 0).view(-1, 8).double().mean(dim=0)
    assert ((zeros - 0.5).abs() < 5 * 0.5 / 100_000**0.5).all()


def test_neighbours_are_independent() -> None:
    torch.manual_seed(0)
    zeros = (ByteDropout(0.5)(torch.ones(1_000_001)) == 0).double() - 0.5
    for distance in (1, 7, 8, 9, 64):
        correlation = 4 * (zeros[:-distance] * zeros[distance:]).mean().item()
        assert abs(correlation) < 5 / 1000


@pytest.mark.parametrize("shape", [(1,), (3, 5), (2, 3, 4, 5), (0, 3)])
def test_the_gradient_goes_where_the_value_went(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    y = ByteDropout(0.5)(x)
    upstream = torch.randn(shape, dtype=torch.float64)
    y.backward(upstream)
    torch.testing.assert_close(x.grad, upstream * (y != 0) * 2)


def test_evaluation_and_p_0_change_nothing() -> None:
    x = torch.randn(100)
    assert ByteDropout(0.5).eval()(x) is x
    assert ByteDropout(0.0)(x) is x
    assert ByteDropout(0.001)(x) is x, "rounds to 0 of 256"


def test_the_seed_decides() -> None:
    def draw(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return ByteDropout(0.5)(torch.ones(1000))

    assert torch.equal(draw(0), draw(0))
    assert not torch.equal(draw(0), draw(1))


def test_the_type_stays() -> None:
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        assert ByteDropout(0.5)(torch.ones(8, dtype=dtype)).dtype == dtype
        assert nn.Dropout(0.5)(torch.ones(8, dtype=dtype)).dtype == dtype
