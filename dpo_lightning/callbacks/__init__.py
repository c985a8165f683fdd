"""Side effects of a run."""
