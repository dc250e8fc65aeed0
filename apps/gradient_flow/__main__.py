"""Train the networks whose gradients are compared: python -m apps.gradient_flow [KEY=VALUE ...]"""

from apps.gradient_flow.config import Config
from shared.cli import main

if __name__ == "__main__":
    main("gradient_flow", Config, train_module="apps.gradient_flow.train")
