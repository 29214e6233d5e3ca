"""Benchmarks, prompts and files of predictions."""
