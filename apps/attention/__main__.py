"""Train an attention network: python -m apps.attention [KEY=VALUE ...]"""

from apps.attention.config import Config
from shared.cli import main

if __name__ == "__main__":
    main("attention", Config, train_module="apps.attention.train")
