"""The command line, `spar`."""
