"""Checks of tokens: what is cut off, what is lost, where texts begin, meet and end."""

from __future__ import annotations

from dpo_lightning.data.inspect.checks.words import of_rows, percent, share
from dpo_lightning.data.inspect.finding import Check, Found, Severity
from dpo_lightning.data.inspect.survey import Seen, Survey
from dpo_lightning.data.tokenize import Outcome
from dpo_lightning.data.tokenize.boundary import Boundary


def truncated(survey: Survey) -> Found | None:
    """Find examples that are cut to `max_length`."""
    rows = survey.where(lambda each: each.truncated and each.kept)
    if not rows:
        return None
    severity = Severity.WARNING if share(rows, survey) >= 0.1 else Severity.INFO
    return Found(severity, f"{of_rows(rows, survey)} are cut to {survey.max_length:,} tokens", rows)


def same_after_truncation(survey: Survey) -> Found | None:
    """Find pairs that are different texts and become the same tokens."""
    rows = survey.where(lambda each: each.outcome == Outcome.IDENTICAL and each.truncated and not each.said.same)
    said = f"{of_rows(rows, survey)} are the same on both sides after they are cut, and not trained on"
    return Found(Severity.WARNING, said, rows) if rows else None


def no_room(survey: Survey) -> Found | None:
    """Find prompts that leave no token for a completion."""
    rows = survey.where(lambda each: each.outcome == Outcome.NO_ROOM)
    said = f"{of_rows(rows, survey)} have a prompt that fills all {survey.max_length} tokens, and are not trained on"
    return Found(Severity.WARNING, said, rows) if rows else None


def no_prompt(survey: Survey) -> Found | None:
    """Find prompts without a token."""
    rows = survey.where(lambda each: each.outcome == Outcome.EMPTY_PROMPT)
    said = f"{of_rows(rows, survey)} have an empty prompt, and the tokenizer puts no BOS there: they are not trained on"
    return Found(Severity.WARNING, said, rows) if rows else None


def double_bos(survey: Survey) -> Found | None:
    """Find prompts that begin with two BOS tokens."""
    bos = survey.bos
    if bos is None:
        return None
    rows = survey.where(lambda each: each.prompt_ids[:2].tolist() == [bos, bos])
    return Found(Severity.WARNING, f"{of_rows(rows, survey)} begin with two BOS tokens", rows) if rows else None


def no_eos(survey: Survey) -> Found | None:
    """Find completions that are whole and have no EOS token."""
    eos = survey.eos
    if eos is None:
        return None
    rows = survey.where(lambda each: not each.truncated and each.kept and _lacks(each, eos))
    return Found(Severity.WARNING, f"{of_rows(rows, survey)} end without the EOS token", rows) if rows else None


def _lacks(each: Seen, eos: int) -> bool:
    return any(eos not in ids[-3:] for ids in each.completion_ids)


def merged(survey: Survey) -> Found | None:
    """Find boundaries of prompt and completion inside a token."""
    rows = survey.where(lambda each: each.boundary is Boundary.MERGED)
    if not rows:
        return None
    said = f"in {of_rows(rows, survey)}, prompt and completion meet inside what the tokenizer would make one token"
    return Found(Severity.WARNING if share(rows, survey) >= 0.5 else Severity.INFO, said, rows)


def shared(survey: Survey) -> Found | None:
    """Find prompts that end before what the template writes where an answer is to come."""
    rows = survey.where(lambda each: each.boundary is Boundary.SHARED)
    if not rows:
        return None
    said = f"in {of_rows(rows, survey)}, the chat template begins an answer otherwise than the prompt for it ends"
    found = {name: value for split in survey.splits.values() for name, value in split.remedy.items()}
    remedy = "".join(
        f"Set `data.chat_template_kwargs.{name}: {str(value).lower()}`: answers then begin where prompts end."
        for name, value in found.items()
    )
    return Found(Severity.WARNING, said, rows, remedy or None)


def unscored(survey: Survey) -> Found | None:
    """Find tokens of completions that do not count."""
    rows = survey.where(lambda each: each.kept and not all(mask.all() for mask in each.scored))
    if not rows:
        return None
    kept = [each for split in survey.splits.values() for each in split.kept]
    tokens = sum(len(ids) for each in kept for ids in each.completion_ids)
    count = sum(int((~mask).sum()) for each in kept for mask in each.scored)
    said = f"{count:,} of {tokens:,} tokens of completions ({percent(count, tokens)}) do not count, in "
    return Found(Severity.INFO, said + of_rows(rows, survey), rows)


def nothing_counts(survey: Survey) -> Found | None:
    """Find completions of which no token counts."""
    rows = survey.where(lambda each: each.outcome == Outcome.NOTHING_COUNTS)
    said = f"{of_rows(rows, survey)} have a completion of which no token counts, and are not trained on"
    return Found(Severity.WARNING, said, rows) if rows else None


CHECKS = (
    Check(
        "truncated",
        "Examples longer than `data.max_length`. Completions lose their end, and with it the EOS token; prompts, where "
        "`data.max_prompt_length` is set, their beginning. A warning from a tenth of the rows on.",
        "Raise `data.max_length`, or leave out the longest rows.",
        truncated,
    ),
    Check(
        "identical after truncation",
        "Pairs whose sides differ only behind `data.max_length`. They are not trained on.",
        "Raise `data.max_length`.",
        same_after_truncation,
    ),
    Check(
        "no room for a completion",
        "Prompts that fill `data.max_length` by themselves. The examples are not trained on.",
        "Raise `data.max_length`, or set `data.max_prompt_length`, which keeps the end of the prompt.",
        no_room,
    ),
    Check(
        "empty prompt",
        "A prompt without a token, before which the tokenizer puts no BOS: there is nothing to continue.",
        "Take the rows out, or give them a prompt, such as `data.format.prompt_template` puts around it.",
        no_prompt,
    ),
    Check(
        "double BOS",
        "Prompts that begin with two BOS tokens, one of the template's or the text's and one of the tokenizer's. "
        "Models have not seen that in training.",
        "Take the BOS out of the chat template or of the texts.",
        double_bos,
    ),
    Check(
        "missing EOS",
        "Completions that are not cut and have no EOS token: the chat template ends them with another token. "
        "Generation that waits for the EOS token goes on after them.",
        "Name the template's last token as the tokenizer's `eos_token`, or add it where you generate.",
        no_eos,
    ),
    Check(
        "merged boundary",
        "Prompt and completion meet inside what would be one token of the text as a whole. The completion is then "
        "tokenised apart, as a model in use would see it. Usual causes are a prompt that ends in a blank and a "
        "completion that begins without one. A warning from half of the rows on.",
        "Move the white space from the end of the prompt to the beginning of the completion.",
        merged,
    ),
    Check(
        "boundary of the template",
        "The chat template writes something before an answer, such as an empty block of thoughts, that it does not "
        "write where an answer is to come, or the other way round. The prompt then ends where both part: what the "
        "model is trained to continue is not what it gets in use.",
        "Look at the template: no argument of it is known to mend it.",
        shared,
    ),
    Check(
        "tokens that do not count",
        "Tokens of completions that are in no log-prob and in no length: turns of users and tools, messages of weight "
        "0, what stands outside of spans.",
        "Nothing, if that is meant; `data.scored` says which turns count.",
        unscored,
    ),
    Check(
        "nothing counts",
        "A completion of which no token counts, such as one that is cut before its last turn. The example is not "
        "trained on.",
        "Raise `data.max_length`, or set `data.scored: assistant`.",
        nothing_counts,
    ),
)
