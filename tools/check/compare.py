"""Compare a layer with finite differences and with the planted faults of its counterpart."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from shared.backprop.module import Array
from tools.check.counterpart import Counterpart, candidates
from tools.check.numeric import numeric_gradients
from tools.check.observe import (
    AGAIN,
    CHANGES,
    SINGLE,
    LayerFailed,
    Seen,
    Trial,
    clone,
    distance,
    flatten,
    in_suite,
    observe,
    outputs_of,
    same,
)
from tools.gradcheck.faults import FAULTS

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


def check(layer: Any, *inputs: Any, **keywords: Any) -> Result:
    """Compare the backward pass of a layer with finite differences, and name the mistake if there is one.

    Args:
        layer: has `forward(*inputs)` and `backward(dy)`, which returns the gradients of the inputs. The
            parameters are `layer.params` with gradients in `layer.grads`, or attributes: W with dW. It
            can also be a torch module or `autograd.Function`, which is then checked in float64.
        inputs: arrays, as for `forward`; keep them small.
        keywords: other arguments of `forward`.

    Raises:
        LayerFailed: the layer cannot be checked; the message says why.
    """
    if hasattr(layer, "apply"):
        from tools.check.torch_layer import adapt

        layer, inputs = adapt(layer, inputs)
    name = type(layer).__name__
    for method in ("forward", "backward"):
        if not callable(getattr(layer, method, None)):
            raise LayerFailed(f"{name} has no method {method}: give an object with forward and backward")
    trial = Trial.of(layer, inputs, keywords)
    own = observe(layer, trial)
    outputs = [outputs_of(clone(layer), copy.deepcopy(trial.inputs), keywords) for _ in range(2)]
    if not same(*(np.asarray(flatten(y)[0]) for y in outputs)):
        raise LayerFailed(f"{name}.forward is random: take a generator with a seed in __init__")
    numeric: Seen = {key: g for key, g in numeric_gradients(layer, trial).items() if key in own}
    twins, seen = find_counterpart(layer, trial, own)
    targets: Seen = numeric | {key: value for key, value in seen.items() if key in own}
    problems = dict(find_problems(own, targets, trial.inputs))
    if in_suite(layer) and not seen and twins:
        problems["y"] = f"y is not what {twins[0].kind} computes"
    mistake = find_mistake(own, targets, twins, trial) if problems else None
    given = (key for key in numeric if own[key] is not None and key not in problems)
    good = {key: distance(own[key], numeric[key]) for key in given}
    return Result(name, good, twins[0].kind if seen else None, list(problems.values()), mistake)


def find_counterpart(layer: Any, trial: Trial, own: Seen) -> tuple[list[Counterpart], Seen]:
    """Return the layer that computes the same y and what it shows; all candidates if none does."""
    known = list(candidates(layer, trial.inputs))
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


def pattern(given: Array, target: Array, inputs: Sequence[Any]) -> str:
    """Return how a wrong gradient is related to the right one, if the relation is simple."""
    if not np.abs(given).max(initial=0):
        return "; all of it is 0"
    if given.ndim == 2 and given.shape[0] == given.shape[1] and same(given.T, target):
        return "; it is transposed"
    known = ~np.isnan(target)
    given, target = given[known], target[known]
    factor = float((given * target).sum() / max((target * target).sum(), 1e-300))
    if target.size > 1 and same(given, factor * target):
        if abs(factor + 1) < CLOSE:
            return "; its sign is wrong"
        counts = (
            {"examples": len(inputs[0]), "elements of the input": inputs[0].size} if inputs[0].ndim else {}
        )
        reasons = [f", 1 / the number of {what}" for what, n in counts.items() if abs(factor * n - 1) < CLOSE]
        reasons += [f", the number of {what}" for what, n in counts.items() if abs(factor - n) < CLOSE * n]
        return f"; it is {factor:.4g} times the right one{''.join(reasons[:1])}"
    agrees = np.abs(given - target) <= CLOSE * np.abs(target).max(initial=0)
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
        for fault in (one for one in FAULTS if one.layer == twin.kind):
            seen = twin.observe(fault, trial)
            if seen is None or not same(own["y"], seen["y"]):
                continue
            shared = [key for key in seen if key in own]
            share = sum(same(own[key], seen[key]) for key in shared) / len(shared)
            explained = sum(same(own[key], seen.get(key)) for key in wrong)
            if 0 < len(wrong) <= 2 * explained and (best is None or share > best[0]):
                best = share, f"{fault.quantity} of {fault.layer}: {fault.mistake}"
    return best[1] if best else None
