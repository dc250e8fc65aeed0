"""What a reader sees in the charts that all applications share."""

from typing import Any

import numpy as np
import pytest

from shared import charts


def test_the_first_steps_are_on_the_axis_and_both_panels_have_the_same_epochs(figures: list[Any]) -> None:
    losses = [2.3, 2.4, *np.linspace(0.5, 0.1, 298), 9.0]  # the last one is hidden in the mean of 5 steps
    steps = [{"epoch": 1, "loss": loss} for loss in losses]
    charts.learning_curves(steps, [{"epoch": 1, "train_accuracy": 0.9}], "a run")
    left, right = figures[0].axes
    assert left.get_ylim() == (0, pytest.approx(1.05 * 2.4))
    assert left.get_xlim() == right.get_xlim()
    assert all(tick == int(tick) for tick in right.get_xticks())


def test_a_prediction_has_captions_below_its_images_and_an_axis_to_100_percent(figures: list[Any]) -> None:
    images = {"the picture": np.zeros((28, 28), np.uint8), "what the network saw": np.zeros((8, 8), np.uint8)}
    charts.prediction(images, ["1", "7"], np.array([0.999, 0.001]), "1.png: cnn")
    chart = figures[0]
    assert [axes.get_title() for axes in chart.axes] == ["", "", ""], "the title is that of all panels"
    assert [axes.get_xlabel() for axes in chart.axes] == [*images, "probability (%)"]
    assert chart.axes[-1].get_xlim() == (0, 100)
    assert chart.axes[-1].get_tightbbox().x1 <= chart.bbox.width, (
        "99.9 % is beside its bar, inside the picture"
    )
