"""What the run's objective reads of the data: the DataModule asks before it reads a row."""

from __future__ import annotations

from dpo_lightning.data.formats import Format
from dpo_lightning.data.unpaired import UnpairedFormat
from dpo_lightning.errors import InputError
from dpo_lightning.losses import Objective, UnpairedObjective


def objective_of(module: object) -> Objective | UnpairedObjective | None:
    """The objective of a module that names one, as `PreferenceModule` does; None where there is nobody to ask."""
    objective = getattr(module, "objective", None)
    return objective if isinstance(objective, Objective | UnpairedObjective) else None


def check_kind(row_format: Format, objective: Objective | UnpairedObjective | None) -> None:
    """Compare what the rows hold with what the objective reads.

    Raises:
        InputError: for pairs where single completions are read, and the other way round.
    """
    name, unpaired = type(objective).__name__, isinstance(row_format, UnpairedFormat)
    if isinstance(objective, UnpairedObjective) and not unpaired:
        raise InputError(
            f"objective {name} reads single completions with a label, and data.format gives pairs: set data.format to "
            "dpo_lightning.UnpairedFormat, which takes a pair for two of them"
        )
    if isinstance(objective, Objective) and unpaired:
        raise InputError(
            f"objective {name} reads pairs, and data.format UnpairedFormat gives single completions: take KTO or "
            "UnpairedBCO, or leave data.format out for rows with `chosen` and `rejected`"
        )
