"""Confidence intervals, tests, factors, published results."""
