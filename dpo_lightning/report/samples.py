"""A table of samples, on the screen and as Markdown."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from dpo_lightning.utils.files import replaced
from dpo_lightning.utils.text import visible, visible_markdown

RewardFunction = Callable[[str, str], float]


class SampledPrompt(NamedTuple):
    """A prompt with completions sampled before and after training."""

    prompt: str
    before: list[str]
    after: list[str]


def mean_reward(rows: Sequence[SampledPrompt], stage: str, reward: RewardFunction) -> tuple[float, float]:
    """Return the mean reward over all samples of a stage, and its standard error; `stage` is `before` or `after`."""
    rewards = [reward(row.prompt, completion) for row in rows for completion in getattr(row, stage)]
    error = statistics.stdev(rewards) / math.sqrt(len(rewards)) if len(rewards) > 1 else math.nan
    return statistics.fmean(rewards), error


def print_samples(rows: Sequence[SampledPrompt], reward: RewardFunction | None) -> None:
    """Print the first sample of each prompt, before and after, with its reward where there is one."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title="Samples before and after", show_lines=True, expand=True)
    for column in ("prompt", "before", "after"):
        table.add_column(column, ratio=2 if column == "prompt" else 3)
    for row in rows:
        cells = (row.prompt, *(_with_reward(row.prompt, stage[0], reward) for stage in (row.before, row.after)))
        table.add_row(*(Text(visible(cell.strip())) for cell in cells))
    console = Console()
    with console.capture() as printed:  # rich would write past a progress line to the terminal; `print` does not
        console.print(table)
    print(printed.get(), end="")


def write_samples(rows: Sequence[SampledPrompt], reward: RewardFunction | None, path: str | Path) -> None:
    """Write every sample as Markdown, with the mean reward first where there is one."""
    lines = ["# Samples before and after training", ""]
    if reward is not None:
        lines += [f"{summarise(rows, reward)}", ""]
    for row in rows:
        lines += [f"## {visible_markdown(row.prompt)}", ""]
        for stage, completions in (("before", row.before), ("after", row.after)):
            lines += [
                f"* *{stage}*: {_reward_of(row.prompt, text, reward)}{visible_markdown(text)}" for text in completions
            ]
        lines.append("")
    with replaced(path) as temporary:
        temporary.write_text("\n".join(lines), encoding="utf-8")


def summarise(rows: Sequence[SampledPrompt], reward: RewardFunction) -> str:
    """Say in a sentence the mean reward before and after, with standard errors."""
    (before, before_error), (after, after_error) = (mean_reward(rows, stage, reward) for stage in ("before", "after"))
    count = sum(len(row.after) for row in rows)
    return (
        f"mean true reward of {count} fresh samples: {before:.2f} ± {before_error:.2f} before, "
        f"{after:.2f} ± {after_error:.2f} after ({after - before:+.2f})"
    )


def _with_reward(prompt: str, completion: str, reward: RewardFunction | None) -> str:
    return _reward_of(prompt, completion, reward) + (completion if reward is None else completion.strip())


def _reward_of(prompt: str, completion: str, reward: RewardFunction | None) -> str:
    return "" if reward is None else f"[{reward(prompt, completion):+g}] "
