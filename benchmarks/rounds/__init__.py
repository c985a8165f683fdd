"""Rounds: three rounds of sampling, scoring and training against one round of DPO, on the lab's true reward."""
