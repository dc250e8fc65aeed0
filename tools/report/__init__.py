"""One HTML page of all runs."""
