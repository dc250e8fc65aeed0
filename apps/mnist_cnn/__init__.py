"""Handwritten digits with a convolutional or a dense network."""
