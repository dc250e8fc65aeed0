"""Train a ResNet on few images of new classes: python -m apps.resnet_transfer [KEY=VALUE ...]"""

from apps.resnet_transfer.config import Config
from shared.cli import main

if __name__ == "__main__":
    main("resnet_transfer", Config, train_module="apps.resnet_transfer.train")
