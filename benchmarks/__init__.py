"""Measurements and experiments, run from a clone of the repository: `python -m benchmarks.NAME`."""
