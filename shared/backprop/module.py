"""The base class of all layers, and the containers Sequential and Residual."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]
Size = int | str  # of an axis: a number, or a name where any number is allowed

# Complex numbers serve only the complex-step derivative (Martins et al. 2003, section 2).
FLOATS = (np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.complex128))


class NaNError(ValueError):
    """The input of a layer contains NaN."""


class Module(ABC):
    """A layer, or a network made of layers.

    `forward(x)` returns y and keeps what the backward pass needs. `backward(dy)` takes the gradient
    of the loss with respect to y, returns the gradient with respect to x, and stores the gradients
    of the parameters in `grads`. It overwrites them, whereas torch accumulates, so there is no
    zero_grad. Inputs and outputs are not copied: do not modify them between the two calls.

    Attributes:
        params: the parameters under torch's names; update them in place (`param -= step`).
        grads: the gradients of the parameters, under the same names.
        buffers: state that is not trained (running statistics).
        training: whether dropout is active and batch normalization uses the batch's statistics.
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
        """Return dx, where dy is the gradient of the loss with respect to y."""

    def train(self, mode: bool = True) -> "Module":
        """Switch this module and all layers inside it to training mode."""
        self.training = mode
        for child in self.children.values():
            child.train(mode)
        return self

    def eval(self) -> "Module":
        """Switch to evaluation mode."""
        return self.train(False)

    def state_dict(self) -> dict[str, Array]:
        """Return copies of all parameters and buffers, under torch's names."""
        return {name: value.copy() for name, value in (self.params | self.buffers).items()}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Copy `state` into the parameters and buffers; if anything does not fit, change nothing.

        Raises:
            ValueError: a name is missing or unknown, or a shape does not fit.
        """
        own = self.params | self.buffers
        if own.keys() != state.keys():
            raise ValueError(f"{self}: expected {sorted(own)}, got {sorted(state)}")
        given = {name: np.asarray(value) for name, value in state.items()}
        for name, value in own.items():
            if given[name].shape != value.shape:
                raise ValueError(f"{self}: expected {name} {value.shape}, got {given[name].shape}")
        for name, value in own.items():
            value[...] = given[name]

    def _add(self, **children: "Module") -> None:
        """Add layers: their parameters and buffers become this module's, too.

        Raises:
            ValueError: a layer is used twice; it can keep the state of one backward pass only.
        """
        self.children |= children
        layers = [id(layer) for _, layer in self.named_modules()]
        if len(set(layers)) < len(layers):
            raise ValueError(f"{self}: a layer is used twice; create one for each place")
        for name, child in children.items():
            self.params |= {f"{name}.{key}": value for key, value in child.params.items()}
            self.buffers |= {f"{name}.{key}": value for key, value in child.buffers.items()}

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, "Module"]]:
        """Yield this module, whose name is `prefix`, and all layers inside with their names, as torch."""
        yield prefix, self
        for name, child in self.children.items():
            yield from child.named_modules(f"{prefix}.{name}" if prefix else name)

    def _collect(self) -> None:
        """Copy the gradients of the layers inside into `grads`."""
        for name, child in self.children.items():
            self.grads |= {f"{name}.{key}": value for key, value in child.grads.items()}

    def _check(self, what: str, x: Array, shape: tuple[Size, ...], dtype: DTypeLike | None = None) -> None:
        """Check an input; "..." in `shape` stands for any number of leading axes.

        Raises:
            ValueError: the shape or the dtype is wrong.
            NaNError: the input contains NaN.
        """
        if not isinstance(x, np.ndarray):
            raise ValueError(f"{self}: {what} must be an array, got {type(x).__name__}")
        open_ended = shape[:1] == ("...",)
        sizes = shape[1:] if open_ended else shape
        given = x.shape[x.ndim - len(sizes) :] if open_ended else x.shape
        fits = len(given) == len(sizes) and all(
            isinstance(size, str) or size == number for size, number in zip(sizes, given, strict=True)
        )
        if not fits:
            wanted = f"({', '.join(map(str, shape))}{',' * (len(shape) == 1)})"
            raise ValueError(f"{self}: expected {what} of shape {wanted}, got {x.shape}")
        wanted_dtypes = FLOATS if dtype is None else (np.dtype(dtype),)
        if x.dtype not in wanted_dtypes:
            names = " or ".join(map(str, wanted_dtypes[:2]))
            raise ValueError(f"{self}: expected {what} of dtype {names}, got {x.dtype}")
        if x.size and x.dtype in FLOATS and np.isnan(x.min()):  # the minimum is NaN if any number is
            raise NaNError(f"{self}: {what} of shape {x.shape} contains NaN")

    def _check_integers(self, what: str, x: Array) -> None:
        if not isinstance(x, np.ndarray) or not np.issubdtype(x.dtype, np.integer):
            given = x.dtype if isinstance(x, np.ndarray) else type(x).__name__
            raise ValueError(f"{self}: {what} must be an array of integers, got {given}")

    def _keep(self, output: Array, *kept: Any) -> Array:
        """Keep what the backward pass needs; return `output`."""
        self._kept, self._output = kept, output
        return output

    def _recall(self, dy: Array) -> tuple[Any, ...]:
        """Return what forward kept, after checking that dy fits its output."""
        if self._kept is None:
            raise ValueError(f"{self}: backward was called before forward")
        self._check("the gradient of the output", dy, self._output.shape, self._output.dtype)
        return self._kept


class Sequential(Module):
    """Layers in sequence: y = f_n(... f_2(f_1(x))); the backward pass runs in the opposite order.

    Args:
        layers: layers to be named by their position, from 0, as in torch.
        named: layers with names of their own, which come after these.
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
        body: the residual function.
        shortcut: the projection of x; None means x itself.
    """

    def __init__(self, body: Module, shortcut: Module | None = None) -> None:
        super().__init__()
        self._add(body=body, **({} if shortcut is None else {"shortcut": shortcut}))

    def forward(self, x: Array) -> Array:
        """Return y; body and shortcut must give the same shape."""
        y = self.children["body"].forward(x)
        passed = self.children["shortcut"].forward(x) if "shortcut" in self.children else x
        if y.shape != passed.shape:
            raise ValueError(f"{self}: expected a body's output of shape {passed.shape}, got {y.shape}")
        return y + passed

    def backward(self, dy: Array) -> Array:
        """dx = body'(x)^T dy + shortcut'(x)^T dy: a sum passes its gradient on to both summands."""
        dx = self.children["body"].backward(dy)
        passed = self.children["shortcut"].backward(dy) if "shortcut" in self.children else dy
        self._collect()
        return dx + passed


def uniform(rng: np.random.Generator | None, bound: float, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """Draw initial values from U(-bound, bound)."""
    rng = rng or np.random.default_rng()
    return rng.uniform(-bound, bound, shape).astype(dtype)
