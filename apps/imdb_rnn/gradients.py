"""How much of the gradient reaches the words that were read long before the last one.

    python -m apps.imdb_rnn.gradients RUN [RUN ...] --picture PNG

Draws, for the network of each run, the norm of the gradient of its output by each word embedded,
over the distance from the last word: trained, and as it was drawn by the seed. The mean over test
reviews that are as long as the network reads.
"""

import argparse
import importlib
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from apps.imdb_rnn.config import Config
from shared.cli import exit_status_of
from shared.errors import ConfigError
from shared.files import write_result
from shared.runs.reader import load_weights, read_config, read_metrics
from shared.training.auto import resolve_auto

REVIEWS = 100


def gradient_norms(folder: Path) -> dict[str, NDArray[np.float64]]:
    """Return the mean norm by distance from the last word, (longest,), trained and untrained.

    Raises:
        ConfigError: `folder` holds no finished run of a recurrent network, or no test review is as
            long as it reads.
        DataError: a file of the run is damaged, or its data cannot be had.
    """
    from apps.imdb_rnn.train import build_learner
    from shared.data.text_sets import load_texts, split_texts

    config = resolve_auto(read_config(folder, Config))
    metrics = read_metrics(folder)
    if config.model.name == "bow":
        raise ConfigError(f"{folder}: a bag of words has no time steps; choose an lstm or an rnn")
    texts = load_texts(config.data)
    if texts.sha256 != metrics["dataset_sha256"]:
        raise ConfigError(f"{folder}: was trained on another {metrics['dataset']} than is here now")
    _, _, test_set = split_texts(texts, config)
    longest = config.data.longest
    whole = np.flatnonzero(test_set.inputs.lengths == longest)[:REVIEWS]
    if len(whole) == 0:
        raise ConfigError(f"{folder}: no test review has data.longest={longest} words")
    learner = build_learner(config, len(texts.vocabulary), len(texts.classes))
    network = importlib.import_module(f"apps.imdb_rnn.{config.framework}_model")
    norms = {}
    for state in ("untrained", "trained"):
        if state == "trained":
            load_weights(learner, folder, metrics)
        _, gradients = network.embedding_gradients(learner.model, test_set.inputs[whole], 0)
        by_step = np.linalg.norm(gradients.astype(np.float64), axis=2).mean(axis=0)
        norms[f"{config.model.name}, {state}"] = by_step[::-1]
    return norms


def main() -> int:
    """Do what the command line asks for; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m apps.imdb_rnn.gradients", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="the folder of a run")
    parser.add_argument("--picture", type=Path, required=True, metavar="PNG", help="where to")
    arguments = parser.parse_args()

    def action() -> None:
        series: dict[str, NDArray[np.float64]] = {}
        for run in arguments.runs:
            for name, norms in gradient_norms(run).items():
                if name in series:  # the same network twice: by its folder
                    name = f"{name} ({run})"
                series[name] = norms
        from shared import charts  # matplotlib takes a second to import

        sizes = {len(values) for values in series.values()}
        if len(sizes) > 1:
            raise ConfigError("these runs read reviews of different lengths; data.longest differs")
        picture = charts.log_curves(
            np.arange(sizes.pop()),
            series,
            "How much of the gradient reaches earlier words",
            "words before the last one",
            "norm of the gradient of the logit",
        )
        write_result(arguments.picture, picture)
        for name, values in series.items():
            far = len(values) // 2
            print(
                f"{name}: {values[0]:.1e} at the last word, {values[far:].max():.1e} at most "
                f"{far} words before it or earlier"
            )
        print(f"picture: {arguments.picture}")

    return exit_status_of(action)


if __name__ == "__main__":
    sys.exit(main())
