"""What the applications share. Nothing in here imports from `apps` or `tools`."""
