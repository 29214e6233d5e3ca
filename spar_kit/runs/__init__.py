"""Parameter files, and the runs of a study that they describe."""
