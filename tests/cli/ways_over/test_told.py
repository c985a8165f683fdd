"""The table on the terminal: at most 80 characters, what differs first."""

from __future__ import annotations

from dpo_lightning.cli.ways_over.told import table
from dpo_lightning.cli.ways_over.trl import TOOL
from tests.helpers.ways_over import of_trl


def test_the_table_says_what_differs_and_what_is_left_out() -> None:
    draft = of_trl(label_smoothing=0.1, seed=1, log_level="info", beta=0.2)
    lines = list(table(TOOL, draft, ["hub_token"]))
    assert lines == [
        "3 of 6 fields of TRL mean the same here",
        "means something else here:",
        "  seed 1: the seed is the same, the order of rows is another",
        "had no effect there, left out:",
        "  label_smoothing 0.1: TRL's sigmoid does not read it in DPO: set",
        "    model.objective.label_smoothing to use it",
        "not needed here, left out:",
        "  log_level info: Lightning's messages are those of Python's logging",
        "left out because you asked for it: hub_token",
    ]


def test_a_long_value_is_cut_and_a_nested_one_left_out() -> None:
    draft = of_trl(run_name="x" * 90, gradient_checkpointing_kwargs={"use_reentrant": False})
    lines = list(table(TOOL, draft, []))
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("  gradient_checkpointing_kwargs: ") for line in lines)
