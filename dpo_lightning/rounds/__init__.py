"""Rounds: what a policy says to prompts, what that is worth, and the pairs made of it, each step a file."""
