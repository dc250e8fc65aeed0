"""The same weights in two frameworks. Nothing else in the project knows both."""
