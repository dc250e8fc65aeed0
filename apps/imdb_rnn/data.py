"""The data: IMDB's film reviews, generated ones, or a user's own texts."""

from shared.data.text_sets import load_texts, split_texts

load_data = load_texts
split = split_texts
