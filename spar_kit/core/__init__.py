"""Files, processes, versions and plain text. Knows nothing of scenes or questions."""
