"""Loaded before any test."""

import shared.parity  # noqa: F401  (loads torch's compiler before TensorFlow: see there)
