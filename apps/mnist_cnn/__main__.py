"""Train an MNIST network: python -m apps.mnist_cnn [KEY=VALUE ...]"""

from apps.mnist_cnn.config import Config
from shared.cli import main

if __name__ == "__main__":
    main("mnist_cnn", Config, train_module="apps.mnist_cnn.train")
