"""Train the XOR network: python -m apps.xor [KEY=VALUE ...]"""

from apps.xor.config import Config
from shared.cli import main

if __name__ == "__main__":
    main("xor", Config, train_module="apps.xor.train")
