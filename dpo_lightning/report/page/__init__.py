"""Sections of a run's page, each a function of the run that yields HTML."""
