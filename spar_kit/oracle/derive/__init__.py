"""The true answer of each task."""
