"""Many runs of one application: Hydra's -m, and the search for the best values with Optuna."""
