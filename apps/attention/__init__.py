"""Attention: looking up a value by its key, and weighing the words of a review."""
