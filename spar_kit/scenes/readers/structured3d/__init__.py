"""Structured3D, zipped or unpacked."""
