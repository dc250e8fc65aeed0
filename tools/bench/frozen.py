"""Benchmark of a frozen backbone: its features computed once against in every epoch.

Both train the last layer of a resnet18 for 10 epochs on 500 images per class (with 50, a fifth of a
second would be measured), with a validation after each; their accuracies on the training images must be
the same. Needs CIFAR-10; `quick` also runs on the embedded digits. The weights are random: the cost of a
backbone does not depend on them.
"""

import contextlib
import io
import tempfile
import time
from pathlib import Path

from apps.resnet_transfer.config import Config
from apps.resnet_transfer.data import load_data, split
from apps.resnet_transfer.transfer import build_learner, fit_transfer
from shared.compose import config_from_overrides
from shared.runs.folder import RunFolder
from shared.training.frameworks import resolve_auto
from shared.training.loop import evaluate
from tools.bench.rows import Measured, Options, comparison_row

EPOCHS = 10
PER_CLASS, QUICK_PER_CLASS = 500, 20


def train_frozen(features: str, per_class: int) -> tuple[float, float]:
    """Return the seconds of training, features included, and the accuracy on the training images."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["transfer.mode=frozen", f"transfer.features={features}", f"run_dir={folder}"]
        words += [f"trainer.epochs={EPOCHS}", f"data.per_class={per_class}", "data.size=32"]
        words += ["data.test_limit=100", f"cache={folder}"]  # no features of an earlier run
        config = resolve_auto(config_from_overrides("resnet_transfer", Config, words))
        images = load_data(config)
        train_set, validation_set, test_set = split(images, config)
        learner = build_learner(config, images)
        learner.logits(train_set.inputs[:25])  # the first batch is slower than all others
        start = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            fit_transfer(learner, train_set, validation_set, test_set, config, RunFolder(Path(folder)))
        seconds = time.perf_counter() - start
        return seconds, evaluate(learner, train_set).accuracy


def frozen_features(options: Options) -> Measured:
    """Measure the training.

    Raises:
        AssertionError: the accuracies differ.
    """
    per_class = QUICK_PER_CLASS if options.quick else PER_CLASS
    each, accuracy = train_frozen("each_epoch", per_class)
    once, same = train_frozen("once", per_class)
    assert accuracy == same, f"{same:.2%} with features computed once, {accuracy:.2%} without"
    what = f"frozen ResNet, {EPOCHS} epochs of {per_class} images per class"
    note = f"accuracy on the training images {same:.2%} both times"
    return [comparison_row(what, [once], "the backbone in each epoch", [each], note)], []
