"""The data: IMDB's film reviews, generated ones, or a user's own texts (shared/data/text_sets.py)."""

from shared.data.text_sets import load_texts as load_data
from shared.data.text_sets import split_texts as split

__all__ = ["load_data", "split"]
