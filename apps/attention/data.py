"""The data: generated pairs of key and value, or film reviews."""

from typing import Any

import numpy as np

from apps.attention.config import Config, Recall
from shared.data import recall
from shared.data.examples import Examples, hold_back
from shared.data.recall import RecallData
from shared.data.text import TextData
from shared.data.text_sets import load_texts, split_texts

Data = RecallData | TextData


def load_data(config: Config, own: Any = None) -> Data:
    """Return the data set that the configuration names, with the vocabulary of the run `own`, if given.

    Raises:
        DataError: it is not available.
    """
    settings = config.data
    if isinstance(settings, Recall):
        return recall.load(settings.keys, settings.values, settings.pairs, settings.longer)
    return load_texts(config, own)


def split(data: Data, config: Config) -> tuple[Examples, Examples, Examples]:
    """Return the training, validation and test examples.

    Raises:
        ConfigError: a batch would be larger than what is left for training.
    """
    if isinstance(data, TextData):
        return split_texts(data, config)
    settings = config.data
    order = np.random.default_rng([config.seed, 0]).permutation(len(data.train))[: settings.train_limit]
    training, validation = hold_back(
        order, settings.validation_fraction, config.trainer.batch_size, data.name
    )
    return data.train.take(training), data.train.take(validation), data.test.take(slice(settings.test_limit))
