"""The metrics of a finished run again, on the same or on other data.

python -m apps.attention.evaluate RUN [data=NAME] [data.KEY=VALUE ...] [--out FILE]
"""

import sys

from apps.attention.config import Config
from apps.attention.train import build_learner, limited, load
from shared.data.examples import Examples
from shared.data.recall import RecallData
from shared.data.text import TextData
from shared.data.text_sets import split_texts
from tools.evaluate import Application, main


def test_set(own: RecallData | TextData, other: RecallData | TextData, config: Config) -> Examples:
    """Return the test examples of `other`."""
    if isinstance(other, RecallData):
        return limited(other.test, config.data.test_limit)
    return split_texts(other, config)[2]


APPLICATION = Application(Config, lambda config: load(config)[0], test_set, build_learner)

if __name__ == "__main__":
    sys.exit(main(APPLICATION, "apps.attention.evaluate"))
