"""Entry point: compose the configuration, validate it, train."""

from typing import Any

from apps.resnet_transfer.config import Config
from shared.cli import main


def train(config: Config) -> dict[str, Any]:
    """Import what trains only now: `--help` and a refused configuration need none of it."""
    from apps.resnet_transfer.train import train

    return train(config)


if __name__ == "__main__":
    main("resnet_transfer", Config, train)
