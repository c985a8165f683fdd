"""Checks of examples that say the same as another one, or the opposite: in a split, and between splits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dpo_lightning.data.cleaning import ExampleTokens
from dpo_lightning.data.cleaning.clean import near_to
from dpo_lightning.data.cleaning.near import near_duplicates
from dpo_lightning.data.cleaning.repeats import contradictory as has_opposite
from dpo_lightning.data.cleaning.repeats import duplicates as first_equal
from dpo_lightning.data.cleaning.repeats import shared_with
from dpo_lightning.data.inspect.checks.words import how_many, percent
from dpo_lightning.data.inspect.finding import Check, Found, Rows, Severity
from dpo_lightning.data.inspect.survey import Split, Survey

_MANY_NEAR = 0.01


def _repeated(split: Split, first: np.ndarray) -> Rows:
    return split.rows_at(first != np.arange(len(first)))


def duplicates(survey: Survey) -> Found | None:
    """Find training examples that repeat an earlier one."""
    rows = _repeated(survey.train, first_equal(survey.train.tokens))
    if not rows:
        return None
    return Found(Severity.WARNING, f"{how_many(rows):,} training rows repeat an earlier one", rows)


def near(survey: Survey) -> Found | None:
    """Find training examples that nearly repeat an earlier one, beside those that do."""
    tokens = survey.train.tokens
    close, equal = near_duplicates(tokens), first_equal(tokens)
    places = np.arange(len(tokens))
    rows = survey.train.rows_at((close != places) & (equal == places))
    count = how_many(rows)
    if not rows:
        return None
    said = f"{count:,} training rows ({percent(count, len(tokens))}) nearly repeat an earlier one"
    return Found(Severity.WARNING if count >= _MANY_NEAR * len(tokens) else Severity.INFO, said, rows)


def contradictory(survey: Survey) -> Found | None:
    """Find pairs with the sides swapped, and completions with both labels."""
    rows = survey.train.rows_at(has_opposite(survey.train.tokens))
    if not rows:
        return None
    return Found(Severity.WARNING, f"{how_many(rows):,} training rows contradict one another", rows)


def contaminated(survey: Survey) -> Found | None:
    """Find held-out examples that share prompt and completion with a training example."""
    return _held_out(survey, shared_with, "share prompt and a completion with a training row")


def near_contaminated(survey: Survey) -> Found | None:
    """Find held-out examples that are near-duplicates of a training example, beside those that share a completion."""

    def only_near(tokens: ExampleTokens, train: ExampleTokens) -> np.ndarray:
        return near_to(tokens, train) & ~shared_with(tokens, train)

    return _held_out(survey, only_near, "are near-duplicates of a training row")


def _held_out(survey: Survey, holds: Callable[[ExampleTokens, ExampleTokens], np.ndarray], said: str) -> Found | None:
    rows: dict[str, list[int]] = {}
    for _, split in _others(survey):
        rows |= split.rows_at(holds(split.tokens, survey.train.tokens))
    if not rows:
        return None
    count = sum(len(split.tokens) for _, split in _others(survey))
    return Found(Severity.WARNING, f"{how_many(rows):,} of {count:,} held-out rows {said}", rows)


def shared_prompts(survey: Survey) -> Found | None:
    """Find prompts of held-out examples that are trained on too."""
    rows: dict[str, list[int]] = {}
    for _, split in _others(survey):
        rows |= split.rows_at(np.isin(split.tokens.prompt_keys, survey.train.tokens.prompt_keys))
    count = sum(len(split.kept) for _, split in _others(survey))
    if not rows:
        return None
    said = f"{how_many(rows):,} of {count:,} held-out rows have a prompt that is trained on too"
    return Found(Severity.INFO, said, rows)


def _others(survey: Survey) -> list[tuple[str, Split]]:
    return [(name, split) for name, split in survey.others.items() if split.kept]


def held_out_by_chance(survey: Survey) -> Found | None:
    """Find repeats in rows of which a random share is held out."""
    tokens = survey.train.tokens
    rows = _repeated(survey.train, first_of_answers(tokens)) if survey.held_out_share else {}
    if not rows:
        return None
    said = (
        f"{how_many(rows):,} rows share prompt and a completion with an earlier one, and {survey.held_out_share:g} of "
        "the rows are held out at random: some land on both sides"
    )
    return Found(Severity.WARNING, said, rows)


def first_of_answers(tokens: ExampleTokens) -> np.ndarray:
    """Return for each example the first one with a prompt and a completion in common with it, `[examples]`."""
    keys, first = np.unique(tokens.answers, return_index=True)
    example = tokens.example_of
    before = example[first[np.searchsorted(keys, tokens.answers)]]
    found = np.arange(len(tokens))
    np.minimum.at(found, example, before)
    return found


CHECKS = (
    Check(
        "duplicates",
        "Training examples with the tokens of an earlier one: they count twice in every epoch.",
        "Set `data.clean.duplicates: exact`.",
        duplicates,
    ),
    Check(
        "near-duplicates",
        "Training examples whose prompt and completions have 0.7 of their runs of three tokens in common with those of "
        "an earlier one, or are the same but for white space and capital letters. A warning from 1 % of the rows on.",
        "Set `data.clean.duplicates: near`, after a look at some of them.",
        near,
    ),
    Check(
        "contradictory",
        "The same prompt with the two sides swapped, or a completion with both labels: their gradients cancel.",
        "Set `data.clean.contradictory: true`, or find out which of the two was meant.",
        contradictory,
    ),
    Check(
        "contaminated",
        "Held-out examples that share their prompt and a completion with a training example: validation then measures "
        "what was learned by heart.",
        "Set `data.clean.contaminated: true`, which leaves them out of the training rows.",
        contaminated,
    ),
    Check(
        "nearly contaminated",
        "Held-out examples that are near-duplicates of a training example.",
        "Set `data.clean.contaminated: true` and `data.clean.duplicates: near`.",
        near_contaminated,
    ),
    Check(
        "repeats that are held out",
        "Rows share a prompt and a completion, and `data.val_split` is a share of the training rows, drawn at random.",
        "Set `data.clean.contaminated: true`, or hold out a split of its own.",
        held_out_by_chance,
    ),
    Check(
        "shared prompts",
        "Held-out examples whose prompt is trained on with other completions. They say less on new prompts.",
        "Hold out whole prompts if new prompts are what the numbers are for.",
        shared_prompts,
    ),
)
