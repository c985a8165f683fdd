"""Generators of the documentation, each run as `python -m tools.docs.NAME`, and what they tell of."""
