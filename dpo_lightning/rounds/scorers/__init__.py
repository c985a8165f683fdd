"""Scorers: what completions of a prompt are worth, by a function, a reward model, a run or a judge."""
