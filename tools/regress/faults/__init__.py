"""Planted faults: measures which of them the accuracy gate catches, and its false alarms."""
