"""Health of a run: rules that find in its values what a practitioner would, and say it in a line."""

from dpo_lightning.report.health.history import Curves, Watched
from dpo_lightning.report.health.rules import RULES, Hint, Rule, hints

__all__ = ["RULES", "Curves", "Hint", "Rule", "Watched", "hints"]
