"""Rows of the battery over all objectives: each module has its own `ROWS`."""
