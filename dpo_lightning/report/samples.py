"""Samples of a policy beside those of its reference: on the screen, as Markdown, and as rows."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dpo_lightning.utils.files import replaced
from dpo_lightning.utils.text import visible, visible_markdown

RewardFunction = Callable[[str, str], float]

_PROMPT_LINES, _TEXT_LINES = 2, 4
_CUT = " … "


class Completions(NamedTuple):
    """Completions of a prompt by one model.

    Attributes:
        texts: The completions.
        rewards: The reward of each, where there is a function.
    """

    texts: list[str]
    rewards: list[float] | None = None


class SampledPrompt(NamedTuple):
    """A prompt with completions.

    Attributes:
        prompt: The whole prompt.
        policy: Completions of the policy.
        before: Those of the policy before training.
        reference: Those of the reference, where it can be sampled.
        last_turn: What the user said last, of a conversation.
    """

    prompt: str
    policy: Completions
    before: Completions
    reference: Completions | None = None
    last_turn: str | None = None

    def by_model(self) -> dict[str, Completions]:
        """Return the completions by the name of who made them."""
        reference = {} if self.reference is None else {"reference": self.reference}
        return {"before": self.before, **reference, "policy": self.policy}


def rewarded(prompt: str, texts: list[str], reward: RewardFunction | None) -> Completions:
    """Return completions with their rewards; an error of the function is the user's to see."""
    return Completions(texts, None if reward is None else [float(reward(prompt, text)) for text in texts])


def mean_reward(samples: Sequence[Completions]) -> tuple[float, float]:
    """Return the mean reward over all samples, and its standard error."""
    rewards = [each for completions in samples for each in completions.rewards or ()]
    error = statistics.stdev(rewards) / math.sqrt(len(rewards)) if len(rewards) > 1 else math.nan
    return statistics.fmean(rewards), error


def summary(rows: Sequence[SampledPrompt]) -> str | None:
    """Say in a sentence the mean reward before and after, with standard errors; None where there are no rewards."""
    if not rows or rows[0].policy.rewards is None:
        return None
    stages = ([row.before for row in rows], [row.policy for row in rows])
    (before, before_error), (after, after_error) = map(mean_reward, stages)
    count = sum(len(row.policy.texts) for row in rows)
    return (
        f"mean reward of {count} fresh samples: {before:.2f} ± {before_error:.2f} before, "
        f"{after:.2f} ± {after_error:.2f} after ({after - before:+.2f})"
    )


def print_samples(
    rows: Sequence[SampledPrompt], title: str, say: Callable[[str], None] = print, width: int | None = None
) -> None:
    """Print the first sample of each prompt, of the policy and beside it of the reference, or of the start.

    Args:
        rows: The prompts.
        title: First line.
        say: Prints the text.
        width: Columns; None for those of the terminal.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=width)
    table = Table.grid(padding=(0, 2))
    for row in rows:
        for name, text in _lines(row, console.width - 12):
            table.add_row(Text(name, no_wrap=True), Text(text))
        table.add_row()
    with console.capture() as printed:  # rich would write past a progress line to the terminal; `print` does not
        console.print(Text(title), table, sep="\n")
    say("\n".join(line.rstrip() for line in printed.get().rstrip().split("\n")))


def _lines(row: SampledPrompt, columns: int) -> Iterator[tuple[str, str]]:
    """Yield what is shown of a prompt, with the word before it."""
    name, asked = ("prompt", row.prompt) if row.last_turn is None else ("last turn", row.last_turn)
    yield name, shortened(asked, columns * _PROMPT_LINES)
    shown = row.by_model()
    if row.reference is not None:
        del shown["before"]  # it says what the reference says, unless a run began with another model
    for name, completions in shown.items():
        yield name, shortened(_first(completions), columns * _TEXT_LINES)


def _first(completions: Completions) -> str:
    if not completions.texts:
        return ""
    reward = "" if completions.rewards is None else f"[{completions.rewards[0]:+g}] "
    return reward + completions.texts[0]


def shortened(text: str, columns: int) -> str:
    """Return a text as one line of so many columns at most, without its middle where it is longer."""
    from rich.cells import cell_len, set_cell_size

    line = " ".join(visible(text).split())
    if cell_len(line) <= columns:
        return line
    room = columns - cell_len(_CUT)
    end = set_cell_size(line[::-1], room // 3)[::-1]
    return set_cell_size(line, room - room // 3).rstrip() + _CUT + end.lstrip()


def markdown(rows: Sequence[SampledPrompt], title: str) -> str:
    """Return every sample as Markdown, with the mean reward first where there is one."""
    lines = [f"# {title}", ""]
    if (said := summary(rows)) is not None:
        lines += [said, ""]
    for number, row in enumerate(rows, start=1):
        lines += [*_heading(number, row), ""]
        for name, completions in _written(row).items():
            rewards: Sequence[float | None] = completions.rewards or [None] * len(completions.texts)
            lines += [
                f"* *{name}*: {'' if value is None else f'[{value:+g}] '}{visible_markdown(text)}"
                for text, value in zip(completions.texts, rewards, strict=True)
            ]
        lines.append("")
    return "\n".join(lines)


def _written(row: SampledPrompt) -> dict[str, Completions]:
    """Return the completions by whose they are; where the policy was its reference before training, once."""
    if row.reference is None or row.reference.texts != row.before.texts:
        return row.by_model()
    return {"before, reference": row.before, "policy": row.policy}


def _heading(number: int, row: SampledPrompt) -> Iterator[str]:
    """Yield a short heading, and the whole prompt below it where the heading is not all of it."""
    asked = row.prompt if row.last_turn is None else row.last_turn
    short = shortened(asked, 72)
    yield f"## {number}. {visible_markdown(short)}"
    if short != row.prompt.strip():
        yield ""
        yield from (f"> {visible_markdown(line)}".rstrip() + "  " for line in row.prompt.strip().split("\n"))


def write_samples(rows: Sequence[SampledPrompt], title: str, path: str | Path) -> None:
    """Write every sample as Markdown; the file is whole or as it was."""
    with replaced(path) as temporary:
        temporary.write_text(markdown(rows, title), encoding="utf-8")


def record_rows(rows: Sequence[SampledPrompt], step: int) -> list[dict[str, Any]]:
    """Return the prompts as the rows of `samples.jsonl`."""
    return [_record(row, step) for row in rows]


def _record(row: SampledPrompt, step: int) -> dict[str, Any]:
    models = {"policy": row.policy, "reference": row.reference}
    texts = {name: None if each is None else each.texts for name, each in models.items()}
    rewards = {name: each.rewards for name, each in models.items() if each is not None and each.rewards is not None}
    return {"step": step, "prompt": row.prompt, **texts, **({"rewards": rewards} if rewards else {})}


def table(rows: Sequence[SampledPrompt], step: int) -> dict[str, list[Any]]:
    """Return a row for each sample, as columns by name."""
    columns: dict[str, list[Any]] = {}
    for row in rows:
        for number in range(len(row.policy.texts)):
            for name, value in {"step": step, "prompt": row.prompt, **_cells(row, number)}.items():
                columns.setdefault(name, []).append(value)
    return columns


def _cells(row: SampledPrompt, number: int) -> dict[str, Any]:
    models = {name: each for name, each in row.by_model().items() if name != "before"}
    texts: dict[str, Any] = {name: each.texts[number] for name, each in models.items()}
    rewards = {f"reward/{name}": each.rewards[number] for name, each in models.items() if each.rewards is not None}
    return {**texts, **rewards}
