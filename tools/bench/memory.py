"""The most memory that each application holds at a time, on its real data."""

import sys
import tempfile
from pathlib import Path

from tools.bench.process import peak_memory
from tools.bench.rows import Measured, within

GOAL = 1536.0  # MiB
STEPS = 30  # each takes as much as the one before
APPS: dict[str, list[list[str]]] = {
    "mnist_cnn": [[f"framework={name}"] for name in ("torch", "keras", "numpy")],
    "imdb_rnn": [["model=lstm"], ["model=bow"]],
    "attention": [["data=recall"]],
    "resnet_transfer": [["weights=none", "transfer.mode=scratch"]],
    "gradient_flow": [[]],
    "xor": [[]],
}


def measure(peers: Path | None, quick: bool) -> Measured:
    """Return a row for each application; a short training holds as much as a long one.

    Quick is the smallest application alone.
    """
    rows = []
    measured = {"xor": APPS["xor"]} if quick else APPS
    for app, choices in measured.items():
        for words in choices:
            with tempfile.TemporaryDirectory() as folder:
                command = [
                    sys.executable,
                    "-m",
                    f"apps.{app}",
                    *words,
                    f"hydra.run.dir={folder}/run",
                    f"trainer.max_steps={STEPS}",
                ]
                found = peak_memory(command)
            what = f"peak memory, {' '.join([app, *words])}"
            goal = GOAL if app == "mnist_cnn" else None
            rows.append(within(what, [found], "MiB", goal))
    return rows, []
