"""The data: IMDB's film reviews, generated ones, or a user's own texts."""

from apps.imdb_rnn.config import Config
from shared.data.examples import Examples
from shared.data.text import TextData
from shared.data.text_sets import load_texts, split_texts


def load_data(config: Config) -> TextData:
    """Return the data set that the configuration names.

    Raises:
        DataError: it is not available.
    """
    return load_texts(config.data)


def split(texts: TextData, config: Config) -> tuple[Examples, Examples, Examples]:
    """Return the training, validation and test examples.

    Raises:
        ConfigError: a batch would be larger than what is left for training.
    """
    return split_texts(texts, config)
