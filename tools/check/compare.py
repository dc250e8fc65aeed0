"""Compare a layer with finite differences and with the planted faults of its counterpart."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from shared.backprop.module import Array
from tools.check.counterpart import Counterpart, candidates, same
from tools.check.numeric import numeric_gradients
from tools.check.observe import (
    AGAIN,
    CHANGES,
    SINGLE,
    LayerFailed,
    Seen,
    Trial,
    clone,
    flatten,
    in_suite,
    observe,
    outputs_of,
)
from tools.gradcheck.faults import Fault

CLOSE = 1e-5  # allowed relative difference to central differences


@dataclass(frozen=True)
class Result:
    """What a check found: `problems` in sentences, and `mistake`, the known one that all of it looks like."""

    layer: str
    right: dict[str, float]
    counterpart: str | None = None
    problems: list[str] = field(default_factory=list)
    mistake: str | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def __repr__(self) -> str:
        lines = [f"{self.layer}: {'everything agrees' if self.ok else 'wrong'}"]
        lines += [f"  {key} is right (differs by {value:.0e})" for key, value in self.right.items()]
        lines += [f"  {problem}" for problem in self.problems]
        if self.counterpart:
            lines.append(f"  computes the same as {self.counterpart} of shared/backprop")
        if self.mistake:
            lines.append(f"  this looks like a known mistake: {self.mistake}")
        return "\n".join(lines)


def check(layer: Any, *inputs: Any, like: Any = None, **keywords: Any) -> Result:
    """Compare the backward pass of a layer with finite differences, and name the mistake if there is one.

    Args:
        layer: has `forward(*inputs)` and `backward(dy)`, which returns the gradients of the inputs. The
            parameters are `layer.params` with gradients in `layer.grads`, or attributes: W with dW. It
            can also be a torch module or `autograd.Function`, which is then checked in float64.
        inputs: arrays, as for `forward`; keep them small.
        like: a layer of `shared/backprop` that should compute the same; found by itself if it is None.
        keywords: other arguments of `forward`.

    Raises:
        LayerFailed: the layer cannot be checked; the message says why.
    """
    name = type(layer).__name__
    if hasattr(layer, "apply") or hasattr(layer, "named_parameters"):
        from tools.check.torch_layer import adapt

        name, layer, values = adapt(layer, inputs)
        inputs = tuple(values)
    for method in ("forward", "backward"):
        if not callable(getattr(layer, method, None)):
            raise LayerFailed(f"{name} has no method {method}: give an object with forward and backward")
    trial = Trial.of(layer, inputs, keywords)
    own = observe(layer, trial)
    outputs = [outputs_of(clone(layer), copy.deepcopy(trial.inputs), keywords) for _ in range(2)]
    if not same(*(np.asarray(flatten(y)[0]) for y in outputs)):
        raise LayerFailed(f"{name}.forward is random: take a generator with a seed in __init__")
    numeric: Seen = {key: g for key, g in numeric_gradients(layer, trial).items() if key in own}
    twins, seen = find_counterpart(layer, like, trial, own)
    targets: Seen = numeric | {key: value for key, value in seen.items() if key in own}
    problems = dict(find_problems(own, targets, trial.inputs))
    certain = like is not None or in_suite(layer)
    if certain and not seen and twins:
        problems["y"] = f"y is not what {twins[0].kind} computes"
    mistake = find_mistake(own, targets, twins, trial) if problems else None
    good = {key: distance(own[key], numeric[key]) for key in numeric if key not in problems}
    return Result(name, good, twins[0].kind if seen else None, list(problems.values()), mistake)


def find_counterpart(layer: Any, like: Any, trial: Trial, own: Seen) -> tuple[list[Counterpart], Seen]:
    """Return the layer that computes the same y and what it shows; all candidates if none does."""
    known = [Counterpart(like)] if like is not None else list(candidates(layer, trial.inputs))
    for one in known:
        seen = one.observe(None, trial)
        if seen is not None and same(own["y"], seen["y"]):
            return [one], seen
    return known, {}


def find_problems(own: Seen, targets: Seen, inputs: Sequence[Any]) -> Iterator[tuple[str, str]]:
    """Yield a sentence for everything that is wrong, with the name of the quantity."""
    for key, target in targets.items():
        given = own[key]
        if target is None:
            continue
        if key[0] != "d" or " " in key:
            if not (CHANGES in key or AGAIN in key or SINGLE in key or distance(given, target) <= CLOSE):
                yield key, f"{key} differs from the counterpart's"
        elif given is None:
            if np.abs(target[~np.isnan(target)]).max(initial=0) > CLOSE:
                yield key, f"{key} is missing"
        elif given.shape != target.shape:
            yield key, f"{key} has shape {given.shape} instead of {target.shape}"
        elif distance(given, target) > CLOSE:
            far = distance(given, target)
            yield key, f"{key} is wrong: it differs by {far:.1e}{pattern(given, target, inputs)}"
        elif not same(own[f"{key}{AGAIN}"], given):
            yield key, f"{key} changes when backward is called again: set it, do not add to it"
    for key, value in own.items():
        if value is not None and key.endswith((CHANGES, SINGLE)) and value:
            yield key, key


def distance(given: Array | None, target: Array | None) -> float:
    """Return max |given - target| / max |target|, without the numbers where there is no derivative."""
    if given is None or target is None or given.shape != target.shape:
        return np.inf
    known = ~np.isnan(target)
    size = np.abs(target[known]).max(initial=0)
    far = float(np.abs(given[known] - target[known]).max(initial=0))
    return far / size if size > CLOSE else far


def pattern(given: Array, target: Array, inputs: Sequence[Any]) -> str:
    """Return how a wrong gradient is related to the right one, if the relation is simple."""
    size = np.abs(target).max(initial=0)
    if not np.abs(given).max(initial=0):
        return "; all of it is 0"
    if given.ndim == 2 and given.shape[0] == given.shape[1] and same(given.T, target):
        return "; it is transposed"
    factor = float((given * target).sum() / max((target * target).sum(), 1e-300))
    if target.size > 1 and same(given, factor * target):
        counts = {len(inputs[0]): "examples", inputs[0].size: "numbers in x"} if inputs[0].ndim else {}
        known = [f" = 1 / {n} (the {what})" for n, what in counts.items() if abs(factor * n - 1) < CLOSE]
        known += [f" = the {what}" for n, what in counts.items() if abs(factor / n - 1) < CLOSE]
        return (
            "; its sign is wrong"
            if abs(factor + 1) < CLOSE
            else f"; it is {factor:.4g}{''.join(known[:1])} times the right one"
        )
    agrees = np.abs(given - target) <= CLOSE * size
    if agrees.any() and (target[~agrees] == 0).all():
        return "; it is not 0 where it should be: a mask is missing"
    return ""


def find_mistake(own: Seen, targets: Seen, twins: Sequence[Counterpart], trial: Trial) -> str | None:
    """Return the planted fault that explains everything that the layer shows, or else its wrong gradients."""
    best: tuple[float, str] | None = None
    for twin in twins:
        right = twin.observe(None, trial) or {}
        expected = right | targets if same(own["y"], right.get("y")) else right
        wrong = [key for key, value in expected.items() if key in own and not same(own[key], value)]
        for fault in twin.faults():
            seen = twin.observe(fault, trial)
            if seen is None or not same(own["y"], seen["y"]):
                continue
            shared = [key for key in seen if key in own]
            share = sum(same(own[key], seen[key]) for key in shared) / len(shared)
            explained = sum(same(own[key], seen.get(key)) for key in wrong)
            if 0 < len(wrong) <= 2 * explained and (best is None or share > best[0]):
                best = share, name_of(fault)
    return best[1] if best else None


def name_of(fault: Fault) -> str:
    return f"{fault.quantity} of {fault.layer}: {fault.mistake}"
