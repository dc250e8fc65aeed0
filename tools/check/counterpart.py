"""Find the layer of `shared/backprop` that computes the same, and what it gives with each planted fault."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np

from shared import backprop
from shared.backprop.module import Array, Module
from tools.check.observe import SINGLE, LayerFailed, Seen, Trial, in_suite, is_float, observe, parameters
from tools.gradcheck.faults import Fault, plant

planted = cache(plant)
Arrange = Callable[[Array], Array]


class Counterpart(NamedTuple):
    """A layer of `shared/backprop`, and the learner's name and arrangement of each of its parameters."""

    layer: Module
    names: Mapping[str, tuple[str, Arrange]] = {}

    @property
    def kind(self) -> str:
        return type(self.layer).__name__

    def observe(self, fault: Fault | None, trial: Trial) -> Seen | None:
        """Return what the layer shows, with a fault if given; None if it refuses the input."""
        layer = copy.deepcopy(self.layer)
        if fault is not None:
            library = planted(fault)
            for _, one in layer.named_modules():
                one.__class__ = getattr(library, type(one).__name__, type(one))
        try:
            with np.errstate(all="ignore"):
                seen = observe(layer, trial)
        except LayerFailed:
            return None
        renamed: Seen = {}
        for key, value in seen.items():
            name, space, rest = key[1:].partition(" ")
            if key[0] == "d" and name in self.names:
                known, arrange = self.names[name]
                key = f"d{known}{space}{rest}"
                value = value if value is None or SINGLE in key else arrange(value)
            renamed[key] = value
        return renamed


def candidates(layer: Any, inputs: Sequence[Any]) -> Iterator[Counterpart]:
    """Yield the layers that have parameters of these shapes and could take these inputs."""
    kind, params, x = type(layer).__name__, parameters(layer), inputs[0]
    if in_suite(layer) and hasattr(backprop, kind):
        twin = copy.deepcopy(layer)
        for _, one in twin.named_modules():
            one.__class__ = getattr(backprop, type(one).__name__, type(one))
        yield Counterpart(twin)
    elif not params and len(inputs) == 1:
        kinds = ("Sigmoid", "Tanh", "ReLU", "ReLU6", "Softmax", "GELU", "Flatten")
        yield from (Counterpart(getattr(backprop, kind)()) for kind in kinds)
        yield Counterpart(backprop.GELU("tanh"))
        if x.ndim == 4:
            yield from map(Counterpart, (backprop.MaxPool2d(2), backprop.AvgPool2d(2)))
    elif not params and len(inputs) == 2:
        losses = [backprop.MSELoss, backprop.BCEWithLogitsLoss]
        for loss in losses if is_float(inputs[1]) else [backprop.CrossEntropyLoss]:
            yield from (Counterpart(loss(reduction=reduction)) for reduction in ("mean", "sum"))
    else:
        yield from with_parameters(params, x)


def with_parameters(params: Mapping[str, Array], x: Array) -> Iterator[Counterpart]:
    """Yield linear, convolutional and normalization layers with these parameters."""
    matrices = [name for name, value in params.items() if value.ndim > 1 and min(value.shape) > 1]
    vectors = [name for name in params if name not in matrices]
    made: list[tuple[Module, Arrange]] = []
    if len(matrices) == 1 and len(vectors) <= 1:
        bias, weight = bool(vectors), params[matrices[0]]
        if weight.ndim == 2:
            for arrange in (np.asarray, np.transpose):
                outputs, inputs = arrange(weight).shape
                made.append((backprop.Linear(inputs, outputs, bias, dtype=np.float64), arrange))
        elif weight.ndim == 4:
            outputs, inputs, size, width = weight.shape
            conv = partial(backprop.Conv2d, inputs, outputs, (size, width), bias=bias, dtype=np.float64)
            made = [(conv(padding=padding), np.asarray) for padding in (0, size // 2)]
    elif not matrices and tuple(params[name].size for name in vectors) == x.shape[-1:] * 2:
        norms = backprop.LayerNorm, backprop.BatchNorm1d
        made = [(norm(x.shape[-1], dtype=np.float64), np.asarray) for norm in norms]
    for twin, form in made:
        names: dict[str, tuple[str, Arrange]] = {}
        for own, name in zip(twin.params, [*matrices, *vectors], strict=True):
            names[own] = name, form if name in matrices else partial(np.reshape, shape=params[name].shape)
            value = form(params[name]) if name in matrices else params[name].ravel()
            if value.shape != twin.params[own].shape:
                break
            twin.params[own][...] = value
        else:
            yield Counterpart(twin, names)
