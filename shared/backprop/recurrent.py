"""Recurrent layers, with backpropagation through time."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from shared.backprop.activations import sigmoid
from shared.backprop.module import Array, Module, uniform

State = tuple[Array, ...]  # each (N, H)


class _Recurrent(Module):
    """h_t = step(x_t, h_(t-1)) for t = 1 ... T, where h_0 is the given state or 0.

    Shapes, with G gates: x (T, N, input_size), or (N, T, input_size) if batch_first; the output
    likewise, with hidden_size; each state (1, N, hidden_size); weight_ih_l0 (G hidden_size,
    input_size), weight_hh_l0 (G hidden_size, hidden_size), bias_ih_l0 and bias_hh_l0
    (G hidden_size,). Initial values: U(-1/sqrt(hidden_size), 1/sqrt(hidden_size)), as in torch.

    lengths (N,) gives the number of steps of each example. After its last step, its state no longer
    changes and its output is 0, as for a packed sequence in torch, so padding has no influence.

    Backward (Werbos 1990, Proceedings of the IEEE 78, 10): from the last step to the first, where
    `step` combines u_t = W_ih x_t + b_ih and v_t = W_hh h_(t-1) + b_hh,
        dh_(t-1) = step'_h^T dh_t + dv_t W_hh        dx_t = du_t W_ih
        dW_ih = sum_t du_t^T x_t     db_ih = sum_t du_t
        dW_hh = sum_t dv_t^T h_(t-1) db_hh = sum_t dv_t
    After `backward`, `dhx` holds the gradient of the initial state, in the form of that state.
    """

    gates = 1
    states = 1  # an LSTM has two, h and c
    dv_differs = False  # from du, because the step is a function of u + v alone

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        bias: bool = True,
        batch_first: bool = False,
        dtype: DTypeLike = np.float32,
        rng: np.random.Generator | None = None,
    ) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.batch_first = input_size, hidden_size, batch_first
        self.dhx: Any = None
        rows, bound = self.gates * hidden_size, hidden_size**-0.5
        self.params["weight_ih_l0"] = uniform(rng, bound, (rows, input_size), dtype)
        self.params["weight_hh_l0"] = uniform(rng, bound, (rows, hidden_size), dtype)
        if bias:
            self.params["bias_ih_l0"] = uniform(rng, bound, (rows,), dtype)
            self.params["bias_hh_l0"] = uniform(rng, bound, (rows,), dtype)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.input_size}, {self.hidden_size})"

    @abstractmethod
    def step(self, u: Array, v: Array, state: State) -> tuple[State, Any]:
        """Return the next state and what `step_backward` needs; u and v are (N, G hidden_size)."""

    @abstractmethod
    def step_backward(self, dstate: State, kept: Any, du: Array, dv: Array) -> State:
        """Write du and dv; return the part of the previous state's gradient that does not pass through v.

        dv is the same array as du unless `dv_differs`.
        """

    def _split(self, z: Array) -> Array:
        """Return the gates of z (N, G hidden_size) as a view (G, N, hidden_size)."""
        return z.reshape(len(z), self.gates, self.hidden_size).swapaxes(0, 1)

    def forward(  # type: ignore[override]
        self, x: Array, hx: Any = None, lengths: Array | None = None
    ) -> tuple[Array, Any]:
        """Return the outputs of all steps, and the last state: h_n, or (h_n, c_n) for an LSTM.

        Raises:
            ValueError: a shape or a dtype does not fit, or a length is not in 1 ... T.
        """
        dtype = self.params["weight_ih_l0"].dtype
        axes = ("N", "T") if self.batch_first else ("T", "N")
        self._check("an input", x, (*axes, self.input_size), dtype)
        x = np.ascontiguousarray(x.swapaxes(0, 1)) if self.batch_first else x
        steps, count, _ = x.shape
        state = self._initial(hx, count, dtype)
        valid = self._valid(lengths, steps, count)
        u = x.reshape(-1, self.input_size) @ self.params["weight_ih_l0"].T
        u += self.params.get("bias_ih_l0", dtype.type(0))
        u = u.reshape(steps, count, u.shape[1])
        hidden = np.empty((steps + 1, count, self.hidden_size), dtype)  # h_0 ... h_T
        hidden[0] = state[0]
        kept = []
        for t in range(steps):
            v = hidden[t] @ self.params["weight_hh_l0"].T
            v += self.params.get("bias_hh_l0", dtype.type(0))
            following, keep = self.step(u[t], v, state)
            if valid is not None:
                following = tuple(
                    np.where(valid[t], new, old) for new, old in zip(following, state, strict=True)
                )
            state = following
            hidden[t + 1] = state[0]
            kept.append(keep)
        output = hidden[1:] if valid is None else hidden[1:] * valid
        output = output.swapaxes(0, 1) if self.batch_first else output
        return self._keep(output, x, hidden, kept, valid), self._in_torch_form(state)

    def backward(self, dy: Array, dhx: Any = None) -> Array:
        """Return dx; `dhx` is the gradient of the last state, in the form of the state."""
        x, hidden, kept, valid = self._recall(dy)
        dy = dy.swapaxes(0, 1) if self.batch_first else dy
        steps, count, _ = x.shape
        dstate = self._initial(dhx, count, x.dtype)
        du = np.empty((steps, count, self.gates * self.hidden_size), x.dtype)
        dv = np.empty_like(du) if self.dv_differs else du
        for t in reversed(range(steps)):
            passed_by: Any = dstate  # for the examples that have already ended
            dstate = (dstate[0] + dy[t], *dstate[1:])
            dstate = self.step_backward(dstate, kept[t], du[t], dv[t])
            if valid is not None:
                du[t] *= valid[t]
                if self.dv_differs:
                    dv[t] *= valid[t]
                dstate = tuple(
                    np.where(valid[t], new, old) for new, old in zip(dstate, passed_by, strict=True)
                )
            dstate = (dstate[0] + dv[t] @ self.params["weight_hh_l0"], *dstate[1:])
        self.dhx = self._in_torch_form(dstate)
        rows = self.gates * self.hidden_size
        du_rows, dv_rows = du.reshape(-1, rows), dv.reshape(-1, rows)
        self.grads["weight_ih_l0"] = du_rows.T @ x.reshape(-1, self.input_size)
        self.grads["weight_hh_l0"] = dv_rows.T @ hidden[:-1].reshape(-1, self.hidden_size)
        if "bias_ih_l0" in self.params:
            self.grads["bias_ih_l0"] = du_rows.sum(axis=0)
            self.grads["bias_hh_l0"] = dv_rows.sum(axis=0)
        dx = (du_rows @ self.params["weight_ih_l0"]).reshape(x.shape)
        return dx.swapaxes(0, 1) if self.batch_first else dx

    def _initial(self, given: Any, count: int, dtype: DTypeLike) -> State:
        """Return the given state without its first axis, or zeros, each (N, H)."""
        if given is None:
            return tuple(np.zeros((count, self.hidden_size), dtype) for _ in range(self.states))
        given = (given,) if self.states == 1 else given
        if not isinstance(given, Sequence) or len(given) != self.states:
            raise ValueError(f"{self}: expected a state of {self.states} arrays, got {given!r}")
        for one in given:
            self._check("a state", one, (1, count, self.hidden_size), dtype)
        return tuple(one[0] for one in given)

    def _in_torch_form(self, state: State) -> Any:
        """Return the state in torch's form: one array (1, N, H), or a pair of them."""
        return state[0][None] if self.states == 1 else tuple(one[None] for one in state)

    def _valid(self, lengths: Array | None, steps: int, count: int) -> Array | None:
        """Return which steps each example has, as booleans (T, N, 1)."""
        if lengths is None:
            return None
        lengths = np.asarray(lengths)
        fits = lengths.shape == (count,) and np.issubdtype(lengths.dtype, np.integer)
        if not fits or lengths.min() < 1 or lengths.max() > steps:
            raise ValueError(f"{self}: expected {count} lengths from 1 to {steps}, got {lengths.tolist()}")
        return (np.arange(steps)[:, None] < lengths)[:, :, None]


class RNN(_Recurrent):
    """h_t = tanh(u_t + v_t) (Elman 1990).

    Backward: du = dv = dh * (1 - h^2).
    """

    __doc__ += _Recurrent.__doc__ or ""

    def step(self, u: Array, v: Array, state: State) -> tuple[State, Any]:
        """Return (h_t,)."""
        h = np.tanh(u + v)
        return (h,), h

    def step_backward(self, dstate: State, kept: Any, du: Array, dv: Array) -> State:
        """Write du; return 0."""
        (dh,), h = dstate, kept
        du[:] = dh * (1 - h * h)
        return (np.zeros_like(dh),)


class LSTM(_Recurrent):
    """c_t = f c_(t-1) + i g,  h_t = o tanh(c_t) (Gers et al. 2000).

    The gates, stacked in this order, are i = s(z_i), f = s(z_f), g = tanh(z_g), o = s(z_o), where
    z = u_t + v_t and s is the sigmoid. The state is (h, c).

    Backward:
        dc += dh o (1 - tanh(c)^2)    do = dh tanh(c)    di = dc g    dg = dc i    df = dc c_(t-1)
        dz = (di i (1 - i), df f (1 - f), dg (1 - g^2), do o (1 - o))    du = dv = dz
        dc_(t-1) = dc f
    """

    __doc__ += _Recurrent.__doc__ or ""
    gates, states = 4, 2

    def step(self, u: Array, v: Array, state: State) -> tuple[State, Any]:
        """Return (h_t, c_t)."""
        z = np.add(self._split(u), self._split(v), order="C")  # a contiguous array for each gate
        i, f, g, o = sigmoid(z)  # one call for all gates is faster; g's is replaced
        np.tanh(z[2], out=g)
        c = f * state[1] + i * g
        tanh_c = np.tanh(c)
        return (o * tanh_c, c), (i, f, g, o, state[1], tanh_c)

    def step_backward(self, dstate: State, kept: Any, du: Array, dv: Array) -> State:
        """Write du; return (0, dc_(t-1))."""
        (dh, dc), (i, f, g, o, c_before, tanh_c) = dstate, kept
        dc = dc + dh * o * (1 - tanh_c * tanh_c)
        do, di, dg, df = dh * tanh_c, dc * g, dc * i, dc * c_before
        np.concatenate([di * i * (1 - i), df * f * (1 - f), dg * (1 - g * g), do * o * (1 - o)], 1, out=du)
        return np.zeros_like(dh), dc * f


class GRU(_Recurrent):
    """h_t = (1 - z) n + z h_(t-1)  (Cho et al. 2014).

    The gates, stacked in torch's order, are r = s(u_r + v_r), z = s(u_z + v_z), n = tanh(u_n + r v_n),
    where s is the sigmoid. As in cuDNN, torch and Keras, the reset r follows the product with W_hh.

    Backward:
        dn = dh (1 - z) (1 - n^2)    dz = dh (h_(t-1) - n) z (1 - z)    dr = dn v_n r (1 - r)
        du = (dr, dz, dn)            dv = (dr, dz, dn r)                dh_(t-1) = dh z
    """

    __doc__ += _Recurrent.__doc__ or ""
    gates, dv_differs = 3, True

    def step(self, u: Array, v: Array, state: State) -> tuple[State, Any]:
        """Return (h_t,)."""
        (u_r, u_z, u_n), (v_r, v_z, v_n) = self._split(u), self._split(v)
        r, z = sigmoid(u_r + v_r), sigmoid(u_z + v_z)
        n = np.tanh(u_n + r * v_n)
        return ((1 - z) * n + z * state[0],), (r, z, n, v_n, state[0])

    def step_backward(self, dstate: State, kept: Any, du: Array, dv: Array) -> State:
        """Write du and dv; return dh_(t-1)."""
        (dh,), (r, z, n, v_n, h_before) = dstate, kept
        dn = dh * (1 - z) * (1 - n * n)
        dz = dh * (h_before - n) * z * (1 - z)
        dr = dn * v_n * r * (1 - r)
        np.concatenate([dr, dz, dn], 1, out=du)
        np.concatenate([dr, dz, dn * r], 1, out=dv)
        return (dh * z,)
