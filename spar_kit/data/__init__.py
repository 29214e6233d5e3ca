"""Records in SPAR-7M's layout, from a source of scenes to files on disk; the same bytes for any number of workers."""
