"""What `apps/regress.py` is made of: cases, the processes that train, baselines."""
