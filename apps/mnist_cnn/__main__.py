"""Entry point: compose the configuration, validate it, train."""

from apps.mnist_cnn.config import Config
from apps.mnist_cnn.train import train
from shared.command import main

if __name__ == "__main__":
    main("mnist_cnn", Config, train)
