"""The metrics of a finished run again: there is no other data than the four rows.

python -m apps.xor.evaluate RUN [--out FILE]
"""

import sys

from apps.xor import problem
from apps.xor.config import Config
from apps.xor.train import build_learner
from tools.evaluate import Application, main

APPLICATION = Application(
    Config,
    lambda config: problem.TRUTH_TABLE,
    lambda own, other, config: problem.examples(config.model.inputs),
    lambda config, own: build_learner(config),
    other_data=False,
)

if __name__ == "__main__":
    sys.exit(main(APPLICATION, "apps.xor.evaluate"))
