"""Rows that say a thing twice, or its opposite: found by their tokens, and left out on request."""

from dpo_lightning.data.cleaning.clean import Clean, checked_clean
from dpo_lightning.data.cleaning.tokens import ExampleTokens

__all__ = ["Clean", "ExampleTokens", "checked_clean"]
