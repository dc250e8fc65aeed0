"""The applications: one folder each, the same files and the same function names in all of them."""
