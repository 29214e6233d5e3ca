"""Furnished rooms made from a seed, and their images."""
