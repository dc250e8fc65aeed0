"""The metrics of a finished run again, on the same or on other data.

python -m apps.resnet_transfer.evaluate RUN [data=NAME] [data.KEY=VALUE ...] [--out FILE]
"""

import sys
from typing import Any

from apps.resnet_transfer.config import Config
from apps.resnet_transfer.data import load_data, split
from apps.resnet_transfer.transfer import build_learner
from shared.data.examples import Examples
from shared.data.images import ImageData
from shared.errors import ConfigError
from tools.evaluate import Application, main


def test_set(own: ImageData, other: ImageData, config: Config) -> Examples:
    """Return the test pictures of `other`, uint8 (N, size, size, 3)."""
    return split(other, config)[2]


def learner(config: Config, own: ImageData) -> Any:
    """Return the network and its loop.

    Raises:
        ConfigError: the run compares many networks and keeps none.
    """
    if config.transfer.mode == "compare":
        raise ConfigError("transfer.mode=compare keeps the weights of no network")
    return build_learner(config, own)


APPLICATION = Application(Config, load_data, test_set, learner)

if __name__ == "__main__":
    sys.exit(main(APPLICATION, "apps.resnet_transfer.evaluate"))
