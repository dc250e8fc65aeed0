"""The metrics of a finished run again, on the same or on other data.

python -m apps.imdb_rnn.evaluate RUN [data=NAME] [data.KEY=VALUE ...] [--out FILE]
"""

import sys

from apps.imdb_rnn.config import Config
from apps.imdb_rnn.train import build_learner
from shared.data.examples import Examples
from shared.data.text import TextData
from shared.data.text_sets import load_texts, split_texts
from tools.evaluate import Application, main


def test_set(own: TextData, other: TextData, config: Config) -> Examples:
    """Return the test texts of `other`."""
    return split_texts(other, config)[2]


APPLICATION = Application(
    Config,
    lambda config: load_texts(config.data),
    test_set,
    lambda config, own: build_learner(config, len(own.vocabulary), len(own.classes)),
)

if __name__ == "__main__":
    sys.exit(main(APPLICATION, "apps.imdb_rnn.evaluate"))
