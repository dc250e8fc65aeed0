"""What `tools/regress/__main__.py` is made of: cases, the processes that train, baselines."""
