"""The smallest problem that a single layer cannot solve."""
