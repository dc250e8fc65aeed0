"""Generates the tables in README.md and docs/ from the recorded runs."""
