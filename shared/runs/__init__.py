"""The run folder: what a run leaves behind, and what it says while it goes on."""
