"""What every layer has: parameters, gradients, a forward and a backward pass, and its checks."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]
Size = int | str  # of an axis: a number, or a name where any number will do

# Complex numbers are for the complex-step derivative alone (Martins et al. 2003, section 2).
FLOATS = (np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.complex128))


class NaNError(ValueError):
    """There is NaN in what a layer was given."""


class Module(ABC):
    """A layer, or a network made of layers.

    `forward(x)` returns y and keeps what the backward pass needs; `backward(dy)` takes the gradient
    of the loss with respect to y, returns the one with respect to x, and leaves those with respect
    to the parameters in `grads`. It sets them, where torch adds to them: there is no zero_grad.
    Inputs and outputs are kept as they are, not copied: do not change them in between.

    Attributes:
        params: the parameters by torch's names for them; change them in place (`param -= step`).
        grads: their gradients, by the same names.
        buffers: what is kept but not trained (running statistics).
        training: whether dropout drops and batch normalization normalizes with the batch.
    """

    def __init__(self) -> None:
        self.params: dict[str, Array] = {}
        self.grads: dict[str, Array] = {}
        self.buffers: dict[str, Array] = {}
        self.children: dict[str, Module] = {}
        self.training = True
        self._kept: tuple[Any, ...] | None = None
        self._output: Array = np.empty(0)

    def __repr__(self) -> str:
        return type(self).__name__

    @abstractmethod
    def forward(self, x: Array) -> Array:
        """Return y."""

    @abstractmethod
    def backward(self, dy: Array) -> Any:
        """Return dx, with dy the gradient of the loss with respect to y."""

    def train(self, mode: bool = True) -> "Module":
        """Switch to training mode, all layers inside included."""
        self.training = mode
        for child in self.children.values():
            child.train(mode)
        return self

    def eval(self) -> "Module":
        """Switch to evaluation mode."""
        return self.train(False)

    def state_dict(self) -> dict[str, Array]:
        """Return copies of all parameters and buffers, under the names torch gives them."""
        return {name: value.copy() for name, value in (self.params | self.buffers).items()}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Copy `state` into the parameters and buffers, all of it or nothing.

        Raises:
            ValueError: a name is missing or unknown, or a shape does not fit.
        """
        own = self.params | self.buffers
        if own.keys() != state.keys():
            raise ValueError(f"{self}: expected {sorted(own)}, given {sorted(state)}")
        given = {name: np.asarray(value) for name, value in state.items()}
        for name, value in own.items():
            if given[name].shape != value.shape:
                raise ValueError(f"{self}: expected {name} {value.shape}, given {given[name].shape}")
        for name, value in own.items():
            value[...] = given[name]

    def _add(self, **children: "Module") -> None:
        """Take layers in: their parameters and buffers are this module's too.

        Raises:
            ValueError: a layer stands in two places; it keeps what one backward pass needs.
        """
        self.children |= children
        layers = list(self._layers())
        if len(set(map(id, layers))) < len(layers):
            raise ValueError(f"{self}: a layer stands in two places; make one for each")
        for name, child in children.items():
            self.params |= {f"{name}.{key}": value for key, value in child.params.items()}
            self.buffers |= {f"{name}.{key}": value for key, value in child.buffers.items()}

    def _layers(self) -> Iterator["Module"]:
        """Yield the layers inside, and those inside of them."""
        for child in self.children.values():
            yield child
            yield from child._layers()

    def _collect(self) -> None:
        """Take over the gradients that the layers inside have found."""
        for name, child in self.children.items():
            self.grads |= {f"{name}.{key}": value for key, value in child.grads.items()}

    def _check(self, what: str, x: Array, shape: tuple[Size, ...], dtype: DTypeLike | None = None) -> None:
        """Refuse what does not fit: "..." stands for any number of axes in front.

        Raises:
            ValueError: the shape or the dtype is another one.
            NaNError: there is NaN in it.
        """
        if not isinstance(x, np.ndarray):
            raise ValueError(f"{self}: {what} must be an array, given {type(x).__name__}")
        open_ended = shape[:1] == ("...",)
        sizes = shape[1:] if open_ended else shape
        given = x.shape[x.ndim - len(sizes) :] if open_ended else x.shape
        fits = len(given) == len(sizes) and all(
            isinstance(size, str) or size == number for size, number in zip(sizes, given, strict=True)
        )
        if not fits:
            wanted = f"({', '.join(map(str, shape))}{',' * (len(shape) == 1)})"
            raise ValueError(f"{self}: expected {what} of shape {wanted}, given {x.shape}")
        wanted_dtypes = FLOATS if dtype is None else (np.dtype(dtype),)
        if x.dtype not in wanted_dtypes:
            names = " or ".join(map(str, wanted_dtypes[:2]))
            raise ValueError(f"{self}: expected {what} of dtype {names}, given {x.dtype}")
        if x.size and x.dtype in FLOATS and np.isnan(x.min()):  # the minimum of NaNs is NaN
            raise NaNError(f"{self}: there is NaN in {what} of shape {x.shape}")

    def _keep(self, output: Array, *kept: Any) -> Array:
        """Keep what the backward pass needs; return `output`."""
        self._kept, self._output = kept, output
        return output

    def _recall(self, dy: Array) -> tuple[Any, ...]:
        """Return what was kept, once dy is known to fit the output of the forward pass."""
        if self._kept is None:
            raise ValueError(f"{self}: backward before forward; call forward first")
        self._check("the gradient of the output", dy, self._output.shape, self._output.dtype)
        return self._kept


class Sequential(Module):
    """Layers one after the other: y = f_n(... f_2(f_1(x))), and back in the opposite order.

    Args:
        layers: the layers, numbered from 0 as in torch, or
        named: the layers by name.
    """

    def __init__(self, *layers: Module, **named: Module) -> None:
        super().__init__()
        self._add(**{str(number): layer for number, layer in enumerate(layers)}, **named)

    def forward(self, x: Array) -> Array:
        """Return the output of the last layer."""
        for layer in self.children.values():
            x = layer.forward(x)
        return x

    def backward(self, dy: Array) -> Any:
        """dx = J_1^T ... J_n^T dy: the chain rule, from the right (Rumelhart et al. 1986)."""
        for layer in reversed(self.children.values()):
            dy = layer.backward(dy)
        self._collect()
        return dy


class Residual(Module):
    """y = body(x) + shortcut(x) (He et al. 2016, arXiv:1512.03385, equations 1 and 2).

    Args:
        body: what is added.
        shortcut: what it is added to; None is x itself.
    """

    def __init__(self, body: Module, shortcut: Module | None = None) -> None:
        super().__init__()
        self._add(body=body, **({} if shortcut is None else {"shortcut": shortcut}))

    def forward(self, x: Array) -> Array:
        """Return the sum; both summands must have the same shape."""
        y = self.children["body"].forward(x)
        passed = self.children["shortcut"].forward(x) if "shortcut" in self.children else x
        if y.shape != passed.shape:
            raise ValueError(f"{self}: expected a body's output of {passed.shape}, given {y.shape}")
        return y + passed

    def backward(self, dy: Array) -> Array:
        """dx = body'(x)^T dy + shortcut'(x)^T dy: a sum passes the gradient on to both sides."""
        dx = self.children["body"].backward(dy)
        passed = self.children["shortcut"].backward(dy) if "shortcut" in self.children else dy
        self._collect()
        return dx + passed


def uniform(rng: np.random.Generator | None, bound: float, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """Draw initial values from U(-bound, bound)."""
    rng = rng or np.random.default_rng()
    return rng.uniform(-bound, bound, shape).astype(dtype)
