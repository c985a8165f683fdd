"""Checks of what completions say: nothing, the same, a refusal, markup of a template."""

from __future__ import annotations

from dpo_lightning.data.inspect.checks.words import how_many, of_rows, percent, share
from dpo_lightning.data.inspect.finding import Check, Found, Severity
from dpo_lightning.data.inspect.said import Fact
from dpo_lightning.data.inspect.survey import Seen, Survey


def empty(survey: Survey) -> Found | None:
    """Find completions without a character."""
    rows = survey.where(lambda each: each.said.any(Fact.EMPTY))
    return Found(Severity.WARNING, f"{of_rows(rows, survey)} have an empty completion", rows) if rows else None


def blank(survey: Survey) -> Found | None:
    """Find completions of white space alone."""
    rows = survey.where(lambda each: each.said.any(Fact.BLANK))
    return Found(Severity.WARNING, f"{of_rows(rows, survey)} have a completion of white space", rows) if rows else None


def identical(survey: Survey) -> Found | None:
    """Find pairs that are the same on both sides."""
    rows = survey.where(lambda each: each.said.same)
    return Found(Severity.WARNING, f"{of_rows(rows, survey)} are the same on both sides", rows) if rows else None


def same_words(survey: Survey) -> Found | None:
    """Find pairs whose sides differ in white space or in capital letters alone."""
    rows = survey.where(lambda each: each.said.same_words)
    said = f"{of_rows(rows, survey)} differ between their sides in white space or capital letters alone"
    return Found(Severity.WARNING, said, rows) if rows else None


def refusals(survey: Survey) -> Found | None:
    """Find completions that are chosen, or labelled desirable, and only refuse."""
    rows = survey.where(lambda each: any(each.said.completions[number] & Fact.REFUSAL for number in each.preferred))
    if not rows:
        return None
    others = survey.where(lambda each: any(each.said.completions[number] & Fact.REFUSAL for number in each.others))
    said = f"{of_rows(rows, survey)} prefer a refusal, {how_many(others):,} have one on the other side"
    return Found(Severity.WARNING if share(rows, survey) > 0.25 else Severity.INFO, said, rows)


def unseen(survey: Survey) -> Found | None:
    """Find characters that nobody sees."""
    rows = survey.where(lambda each: (each.said.prompt & Fact.UNSEEN) or each.said.any(Fact.UNSEEN))
    said = f"{of_rows(rows, survey)} hold characters that cannot be seen: control characters, zero width, direction"
    return Found(Severity.INFO, said, rows) if rows else None


def control(survey: Survey) -> Found | None:
    """Find texts that spell the tokenizer's own control tokens."""
    rows = survey.where(lambda each: each.spells_control)
    if not rows:
        return None
    said = f"{of_rows(rows, survey)} spell control tokens of the tokenizer, which stay text"
    return Found(Severity.WARNING if share(rows, survey) >= 0.5 else Severity.INFO, said, rows)


def markup(survey: Survey) -> Found | None:
    """Find markup of chat templates in texts, where it is no control token of the tokenizer."""
    rows = survey.where(lambda each: not each.spells_control and _has_markup(each))
    if not rows:
        return None
    said = f"{of_rows(rows, survey)} hold markup of a chat template that is not this tokenizer's"
    return Found(Severity.WARNING if share(rows, survey) >= 0.5 else Severity.INFO, said, rows)


def _has_markup(each: Seen) -> bool:
    in_prompt = not each.templated and bool(each.said.prompt & Fact.MARKUP)
    return in_prompt or each.said.any(Fact.MARKUP)


def untemplated(survey: Survey) -> Found | None:
    """Find that rows are text where the tokenizer has a chat template, which nobody applies."""
    plain = sum(not (each.templated or each.spells_control) for _, each in survey.examples())
    if not survey.has_template or plain <= survey.count / 2:
        return None
    said = (
        f"{plain:,} of {survey.count:,} examples ({percent(plain, survey.count)}) are plain text, and the tokenizer's "
        "chat template is not applied"
    )
    return Found(Severity.WARNING, said)


CHECKS = (
    Check(
        "empty completion",
        "A completion without a character. The example is not trained on.",
        "Find out what the completion should have been, or take the rows out.",
        empty,
    ),
    Check(
        "blank completion",
        "A completion of white space alone. The example is not trained on.",
        "Find out what the completion should have been, or take the rows out.",
        blank,
    ),
    Check(
        "identical completions",
        "Chosen and rejected are the same text. The pair says nothing and is not trained on.",
        "Take the rows out, and look for the step that copied one side over the other.",
        identical,
    ),
    Check(
        "same words",
        "Chosen and rejected differ in white space or in capital letters alone: training moves on formatting.",
        "Set `data.clean.identical: true`, unless the formatting is what the data is about.",
        same_words,
    ),
    Check(
        "preferred refusals",
        "The preferred completion only says that it does not answer. Where a quarter of the rows do, the model will "
        "refuse more than before.",
        "Read some of them, and balance them with rows in which the answer is preferred.",
        refusals,
    ),
    Check(
        "unseen characters",
        "Control characters, zero-width characters or marks of direction. They are trained on like any others.",
        "Strip them from the file, unless the data is about them.",
        unseen,
    ),
    Check(
        "control tokens in text",
        "Texts that spell a control token of the tokenizer, such as its end of text. They are tokenised as plain text, "
        "so that a row cannot end its own prompt. Where most rows do, a chat template was applied already.",
        "Set `data.format.control_tokens: true` if a template was applied to the rows already; else leave them.",
        control,
    ),
    Check(
        "markup in text",
        "Texts with the markup of a chat template that is not this tokenizer's. The model sees it as words.",
        "Turn the rows into lists of messages, so that the model's own template is applied.",
        markup,
    ),
    Check(
        "template not applied",
        "The rows are plain text and the tokenizer has a chat template: the model is trained on prompts of another "
        "form than it gets in use.",
        "Set `data.format.as_messages: true` to write prompt and answers as messages, or false if the text is meant.",
        untemplated,
    ),
)
