"""The table of checks."""

from dpo_lightning.data.inspect.checks import labels, repeats, rows, shortcuts, texts, tokens
from dpo_lightning.data.inspect.finding import Check

CHECKS: tuple[Check, ...] = (
    *rows.CHECKS,
    *texts.CHECKS,
    *tokens.CHECKS,
    *repeats.CHECKS,
    *shortcuts.CHECKS,
    *labels.CHECKS,
)

__all__ = ["CHECKS"]
