"""Entry point: compose the configuration, validate it, train."""

from typing import Any

from apps.attention.config import Config
from shared.cli import main


def train(config: Config) -> dict[str, Any]:
    """Import what trains only now: `--help` and a refused configuration need none of it."""
    from apps.attention.train import train

    return train(config)


if __name__ == "__main__":
    main("attention", Config, train)
