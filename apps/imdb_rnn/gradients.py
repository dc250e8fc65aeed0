"""Draw how much of the gradient reaches the words that were read long before the last one.

    python -m apps.imdb_rnn.gradients RUN [RUN ...] --out PNG

For the network of each run, trained and untrained: the norm of the gradient of its output with
respect to each embedded word, by distance from the last word. It is the mean over test reviews that
are as long as the network reads.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from apps.imdb_rnn.data import split
from apps.imdb_rnn.predict import APPLICATION
from apps.imdb_rnn.train import build_learner
from shared.application import FinishedRun
from shared.cli import exit_status_of
from shared.errors import ConfigError
from shared.output_file import write_result
from shared.training.frameworks import network_module

REVIEWS = 100


def gradient_norms(folder: Path) -> dict[str, NDArray[np.float64]]:
    """Return the mean norm by distance from the last word, (longest,), untrained and trained.

    Raises:
        ConfigError: `folder` is not a finished run of a recurrent network, or no test review is as
            long as it reads.
        DataError: a file of the run is damaged, or its data set is not available.
    """
    run = FinishedRun.open(APPLICATION, folder)
    config = run.config
    if config.model.name in ("bow", "nbsvm"):
        raise ConfigError(f"{folder}: a bag of words has no time steps; choose an lstm or an rnn")
    if config.data.padding == "front":
        raise ConfigError(f"{folder}: its texts are padded at the front; choose one with data.padding=masked")
    _, _, test_set = split(run.data, config)
    longest = config.data.longest
    chosen = np.flatnonzero(test_set.inputs.lengths == longest)[:REVIEWS]
    if len(chosen) == 0:
        raise ConfigError(f"{folder}: no test review has data.longest={longest} words")
    norms = {}
    for state in ("untrained", "trained"):
        learner = run.learner if state == "trained" else build_learner(config, run.data)
        module = network_module("apps.imdb_rnn", config)
        _, gradients = module.embedding_gradients(learner.model, test_set.inputs[chosen], 0)
        by_step = np.linalg.norm(gradients.astype(np.float64), axis=2).mean(axis=0)
        norms[f"{config.model.name}, {state}"] = by_step[::-1]
    return norms


def draw_gradients(folders: list[Path], out: Path) -> None:
    """Write the chart of these runs to `out` and print a line for each curve; raises as `gradient_norms`."""
    from shared import charts  # matplotlib takes a second to import

    curves: dict[str, NDArray[np.float64]] = {}
    for folder in folders:
        for name, norms in gradient_norms(folder).items():
            curves[f"{name} ({folder})" if name in curves else name] = norms
    lengths = {len(norms) for norms in curves.values()}
    if len(lengths) > 1:
        raise ConfigError("these runs read reviews of different lengths: data.longest differs")
    chart = charts.log_curves(
        np.arange(lengths.pop()),
        curves,
        "How much of the gradient reaches earlier words",
        "words before the last one",
        "norm of the gradient of the logit",
    )
    write_result(out, chart)
    for name, norms in curves.items():
        far = len(norms) // 2
        highest = norms[far:].max()
        print(f"{name}: {norms[0]:.1e} at the last word, at most {highest:.1e} from {far} words before")
    print(f"chart: {out}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m apps.imdb_rnn.gradients", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders")
    parser.add_argument("--out", type=Path, required=True, metavar="PNG", help="the chart")
    arguments = parser.parse_args()
    sys.exit(exit_status_of(lambda: draw_gradients(arguments.runs, arguments.out)))
