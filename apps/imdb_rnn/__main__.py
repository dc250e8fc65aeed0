"""Train a text classifier on IMDB: python -m apps.imdb_rnn [KEY=VALUE ...]"""

from apps.imdb_rnn.config import Config
from shared.cli import main

if __name__ == "__main__":
    main("imdb_rnn", Config, train_module="apps.imdb_rnn.train")
