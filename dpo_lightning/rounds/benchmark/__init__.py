"""Benchmarks of preferences: rows with a right and a wrong completion, by subset, and how often a scorer is right."""
