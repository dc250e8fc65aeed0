"""Entry point: compose the configuration, validate it, train."""

from typing import Any

from apps.imdb_rnn.config import Config
from shared.cli import main


def train(config: Config) -> dict[str, Any]:
    """Import what trains only now: `--help` and a refused configuration need none of it."""
    from apps.imdb_rnn.train import train

    return train(config)


if __name__ == "__main__":
    main("imdb_rnn", Config, train)
