"""Rows that say a thing twice, or its opposite: found by their tokens, and left out on request."""

from dpo_lightning.data.cleaning.clean import Clean, Cleaned, checked_clean
from dpo_lightning.data.cleaning.tokens import ExampleTokens

__all__ = ["Clean", "Cleaned", "ExampleTokens", "checked_clean"]
