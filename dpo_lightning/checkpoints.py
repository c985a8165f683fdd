"""Checkpoints that are whole: how they are written, examined and found."""
