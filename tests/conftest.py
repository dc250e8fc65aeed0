"""Loaded before any test."""

import os

import shared.parity  # noqa: F401  (loads torch's compiler before TensorFlow: see there)

# Tests that run side by side get a core each, and whatever they start inherits it: libraries whose
# threads wait by spinning would take it from each other, at several times the cost.
if (worker := os.environ.get("PYTEST_XDIST_WORKER")) and hasattr(os, "sched_setaffinity"):
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})
