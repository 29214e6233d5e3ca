"""SPAR's tasks as numbers, before there is a sentence."""
