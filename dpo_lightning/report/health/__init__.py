"""Health of a run: rules that find in its values what a practitioner would, and say it in a line."""

from dpo_lightning.report.health.history import History, Watched
from dpo_lightning.report.health.rules import RULES, Hint, Rule, hints

__all__ = ["RULES", "Hint", "History", "Rule", "Watched", "hints"]
