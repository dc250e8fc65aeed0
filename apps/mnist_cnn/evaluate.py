"""The metrics of a finished run again, on the same or on other data.

python -m apps.mnist_cnn.evaluate RUN [data=NAME] [data.KEY=VALUE ...] [--out FILE]
"""

import sys
from dataclasses import replace

from apps.mnist_cnn.config import Config
from apps.mnist_cnn.train import build_learner, load_images, split
from shared.data.examples import Examples
from shared.data.images import ImageData
from tools.evaluate import Application, main


def test_set(own: ImageData, other: ImageData, config: Config) -> Examples:
    """Return the test images of `other`, standardized as the network knows it: by its own."""
    mixed = replace(own, test_images=other.test_images, test_labels=other.test_labels)
    return split(mixed, config)[2]


APPLICATION = Application(Config, load_images, test_set, lambda config, own: build_learner(config))

if __name__ == "__main__":
    sys.exit(main(APPLICATION, "apps.mnist_cnn.evaluate"))
