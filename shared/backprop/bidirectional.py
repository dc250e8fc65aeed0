"""A recurrent layer in both directions."""

from collections.abc import Callable
from typing import Any

import numpy as np

from shared.backprop.module import Array, Module
from shared.backprop.recurrent import GRU, LSTM, RNN


class Bidirectional(Module):
    """y_t = (h_t, h'_t): one layer reads x_1 ... x_T, another x_T ... x_1 (Schuster and Paliwal 1997).

    `Bidirectional(LSTM, ...)` takes the other arguments of `LSTM` and is torch.nn.LSTM(...,
    bidirectional=True). The weights of the second layer have its names with _reverse at the end. Shapes
    are those of one layer, but the output has 2 hidden_size channels, and each state is (2, N,
    hidden_size). With lengths (N,), the second layer begins at the last step of each example.

    Backward, where R reverses the steps of each example, h' = R f(R x) for the second layer f, and R is
    its own inverse:
        dx = (dx of the first layer, given dh) + R (dx of f, given R dh')
    """

    def __init__(self, kind: type[RNN | LSTM | GRU], *sizes: int, **options: Any) -> None:
        super().__init__()
        self.directions = [kind(*sizes, **options) for _ in range(2)]
        self.batch_first, self.dhx = self.directions[0].batch_first, None
        for layer, suffix in zip(self.directions, ("", "_reverse"), strict=True):
            self.params |= {f"{name}{suffix}": value for name, value in layer.params.items()}

    def __repr__(self) -> str:
        return f"Bidirectional({self.directions[0]})"

    def forward(  # type: ignore[override]
        self, x: Array, hx: Any = None, lengths: Array | None = None
    ) -> tuple[Array, Any]:
        """Return the outputs of all steps, and the last states; raises as a layer of one direction."""
        first, second = self.directions
        h, last = first.forward(x, _of_direction(hx, 0), lengths)
        reverse = self._reversal(x, lengths)
        h_reverse, last_reverse = second.forward(reverse(x), _of_direction(hx, 1), lengths)
        y = np.concatenate([h, reverse(h_reverse)], axis=2)
        return self._keep(y, reverse), _of_both(last, last_reverse)

    def backward(self, dy: Array, dhx: Any = None) -> Array:
        """Return dx; `dhx` is the gradient of the last states, in their form."""
        (reverse,), (first, second) = self._recall(dy), self.directions
        dh, dh_reverse = np.split(dy, 2, axis=2)
        dx = first.backward(dh, _of_direction(dhx, 0))
        dx = dx + reverse(second.backward(reverse(dh_reverse), _of_direction(dhx, 1)))
        self.dhx = _of_both(first.dhx, second.dhx)
        self.grads = first.grads | {f"{name}_reverse": grad for name, grad in second.grads.items()}
        return dx

    def _reversal(self, x: Array, lengths: Array | None) -> Callable[[Array], Array]:
        """Return the function that reverses the steps of each example and leaves its padding in place."""
        axis = 1 if self.batch_first else 0
        steps = np.arange(x.shape[axis])
        ends = np.asarray(len(steps) if lengths is None else lengths).reshape(-1, 1)
        order = np.where(steps < ends, ends - 1 - steps, steps)  # (N, T), or (1, T) for all examples
        order = order if self.batch_first else order.T
        return lambda values: np.take_along_axis(values, order[:, :, None], axis)


def _of_direction(state: Any, number: int) -> Any:
    """Return one direction's part (1, N, H) of a state (2, N, H), or of each array of an LSTM's."""
    if state is None or isinstance(state, np.ndarray):
        return None if state is None else state[number : number + 1]
    return tuple(one[number : number + 1] for one in state)


def _of_both(state: Any, reverse: Any) -> Any:
    """Return the state of both directions, which `_of_direction` takes apart."""
    if isinstance(state, np.ndarray):
        return np.concatenate([state, reverse])
    return tuple(np.concatenate(pair) for pair in zip(state, reverse, strict=True))
