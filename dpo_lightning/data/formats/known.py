"""The formats that are found by looking at rows: for each, the columns that it needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import product
from typing import Any, NamedTuple

from dpo_lightning.data.formats.base import Format
from dpo_lightning.data.formats.compared import ComparedFormat
from dpo_lightning.data.formats.compared_data import (
    AlpacaEvalFormat,
    ArenaFormat,
    HelpSteerFormat,
    SafeRLHFFormat,
    SHPFormat,
)
from dpo_lightning.data.formats.openai import OpenAIFormat
from dpo_lightning.data.formats.question import AlpacaFormat, QuestionFormat
from dpo_lightning.data.formats.row import RowFormat
from dpo_lightning.data.formats.scored import ScoredListFormat, ScoredPairsFormat
from dpo_lightning.data.formats.shapes import (
    ANSWER,
    ANSWERED,
    LABEL,
    LISTS,
    MESSAGES,
    NUMBER,
    NUMBERS,
    PLAIN,
    PLAIN_ANSWER,
    RESPELLED,
    TEXT,
    TEXTS,
    Kind,
    first_value,
    items,
    word_of,
)
from dpo_lightning.data.formats.sharegpt import ShareGPTFormat
from dpo_lightning.data.formats.swift import SwiftFormat
from dpo_lightning.data.formats.unpaired import UnpairedFormat

PROMPTS = ("prompt", "question", "instruction", "query", "input", "context", "history", "messages", "conversations")
PAIRS = (
    ("chosen", "rejected"),
    ("chosen_response", "rejected_response"),
    ("response_j", "response_k"),
    ("preferred", "dispreferred"),
    ("preferred_output", "non_preferred_output"),
)
SIDES = (
    *(("response_a", "response_b"), ("answer_a", "answer_b"), ("completion_a", "completion_b")),
    *(("output_a", "output_b"), ("response_1", "response_2"), ("answer_1", "answer_2"), ("output_1", "output_2")),
)
VERDICTS = ("winner", "preference", "preferred", "better", "chosen", "label", "choice")
LISTS_OF = ("completions", "responses", "answers", "candidates")
TEXTS_IN = ("response", "text", "completion", "answer", "content", "output", "message", "messages")
SINGLE = ("completion", "response", "output", "answer")
LABELS = ("label", "kto_tag", "labels", "thumbs_up", "desirable", "rating", "stars", "score", "feedback", "helpfulness")


class Known(NamedTuple):
    """A format that rows may have.

    Attributes:
        title: Its name for the reader.
        format: Reads such rows.
        needs: Its columns, or paths to their fields, and the kind of each.
        first: Whether it is taken before others that read the rows as well.
    """

    title: str
    format: Format
    needs: Mapping[str, Kind]
    first: bool = False

    def lacking(self, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """Return what the rows have not of it, each in words; empty where they are of this format."""
        return [said for path, kind in self.needs.items() if (said := _lacking(rows, path, kind))]

    @property
    def said(self) -> str:
        """The format and its columns, in words."""
        return f"{self.title}: {', '.join(self.needs)}"


def _lacking(rows: Sequence[Mapping[str, Any]], path: str, kind: Kind) -> str:
    value = first_value(rows, path)
    if value is None:
        return f"`{path}`"
    return "" if kind.holds(value) else f"`{path}` as {kind.words}"


@cache
def known_formats() -> tuple[Known, ...]:
    """Return the formats in the order in which refusals name them."""
    return (*_pairs(), *_dialogues(), *_questions(), *_compared(), *_scored(), *_labelled())


def _pairs() -> Iterator[Known]:
    plain = TEXT | PLAIN
    yield Known("pairs", RowFormat(), {"prompt": plain, "chosen": plain, "rejected": plain}, first=True)
    yield Known("dialogues with an implicit prompt", RowFormat(), dict.fromkeys(("chosen", "rejected"), plain))
    for prompt in PROMPTS:
        for chosen, rejected in PAIRS:
            read, answer = RowFormat(prompt, chosen, rejected), TEXT | PLAIN_ANSWER
            yield Known("pairs", read, {prompt: TEXT, chosen: plain, rejected: plain})
            yield Known("pairs", read, {prompt: PLAIN, chosen: answer, rejected: answer})


def _dialogues() -> Iterator[Known]:
    for prompt in PROMPTS:
        title = "ShareGPT ranking" if prompt == "conversations" else "dialogue and two answers"
        needs = {prompt: MESSAGES, "chosen": TEXT | ANSWER, "rejected": TEXT | ANSWER}
        yield Known(title, ShareGPTFormat(prompt), needs)
        two = {prompt: TEXT, "chosen": ANSWER, "rejected": ANSWER}
        yield Known("prompt and two messages", ShareGPTFormat(prompt), two)
    whole = dict.fromkeys(("chosen", "rejected"), RESPELLED)
    yield Known("dialogues in ShareGPT's spelling", ShareGPTFormat("prompt"), whole)
    openai = {"input.messages": MESSAGES, "preferred_output": ANSWER, "non_preferred_output": ANSWER}
    yield Known("OpenAI preferences", OpenAIFormat(), openai)
    for name, kind in (("rejected_response", TEXT | ANSWER), ("rejected_messages", ANSWERED)):
        yield Known("ms-swift", SwiftFormat(), {"messages": ANSWERED, name: kind})


def _questions() -> Iterator[Known]:
    for prompt in PROMPTS[1:4]:
        texts = dict.fromkeys((prompt, "chosen", "rejected"), TEXT)
        yield Known("question with a system text", QuestionFormat(prompt, system="system"), {"system": TEXT, **texts})
        if prompt == "instruction":
            yield Known("Alpaca ranking", AlpacaFormat(), {"input": TEXT, **texts})
            yield Known("Alpaca ranking", AlpacaFormat(system="system"), {"system": TEXT, "input": TEXT, **texts})


def _compared() -> Iterator[Known]:
    said = TEXT | MESSAGES
    helpsteer3 = HelpSteerFormat("context", first="response1", second="response2", preference="overall_preference")
    arena = ArenaFormat("prompt", first="conversation_a", second="conversation_b")
    for title, each in (
        ("SHP", SHPFormat()),
        ("PKU-SafeRLHF", SafeRLHFFormat()),
        ("HelpSteer2 preferences", HelpSteerFormat()),
        ("HelpSteer3 preferences", helpsteer3),
        ("arena battles", ArenaFormat()),
        ("AlpacaEval annotations", AlpacaEvalFormat()),
    ):
        yield _comparison(title, each, {each.prompt: said})
    yield _comparison("arena battles", arena, {})
    for prompt in PROMPTS:
        for first, second in SIDES:
            for preference in VERDICTS:
                each = ArenaFormat(prompt, first=first, second=second, preference=preference)
                words = {*(each.verdicts or {}), first.casefold(), second.casefold()}
                needs = _comparison("", each, {prompt: said}).needs
                yield Known("comparison in words", each, {**needs, preference: word_of(words)})


def _comparison(title: str, each: ComparedFormat, prompt: Mapping[str, Kind]) -> Known:
    said = TEXT | MESSAGES
    return Known(title, each, {**prompt, each.first: said, each.second: said, each.preference: LABEL})


def _scored() -> Iterator[Known]:
    for title, prompt, list_name, text, rank, number in (
        ("UltraFeedback", "instruction", "completions", "response", False, "overall_score"),
        ("UltraFeedback", "instruction", "completions", "response", False, "fine-grained_score"),
        ("Nectar", "prompt", "answers", "answer", True, "rank"),
        ("NeMo-RL completions", "context", "completions", "completion", True, "rank"),
    ):
        kind = items(**{text: TEXT | ANSWER, number: NUMBER})
        yield from _both(title, prompt, list_name, kind, {}, completion=text, **_number(rank, number))
    for prompt, list_name in product(PROMPTS[:4], LISTS_OF):
        for rank, number in ((False, "scores"), (False, "rewards"), (True, "ranks")):
            kinds = {number: NUMBERS}
            yield from _both("scored list", prompt, list_name, TEXTS | LISTS, kinds, **_number(rank, number))
        for text, number in product(TEXTS_IN, ("score", "rating", "reward", "overall_score", "rank")):
            kind = items(**{text: TEXT | ANSWER, number: NUMBER})
            fields = _number(number == "rank", number)
            yield from _both("scored list", prompt, list_name, kind, {}, completion=text, **fields)


def _number(rank: bool, name: str) -> dict[str, str]:
    return {"rank" if rank else "score": name}


def _both(
    title: str, prompt: str, completions: str, kind: Kind, beside: Mapping[str, Kind], **settings: str
) -> Iterator[Known]:
    needs = {prompt: TEXT | MESSAGES, completions: kind, **beside}
    for form in (ScoredPairsFormat, ScoredListFormat):
        yield Known(title, form(prompt, completions=completions, **settings), needs)  # type: ignore[arg-type]


def _labelled() -> Iterator[Known]:
    for label in LABELS:
        for dialogue in ("messages", "conversations"):
            read = UnpairedFormat("prompt", dialogue, label)
            yield Known("labelled dialogues", read, {dialogue: ANSWERED, label: LABEL})
        for completion in SINGLE:
            for prompt in PROMPTS:
                if prompt != completion:
                    read = UnpairedFormat(prompt, completion, label)
                    needs = {prompt: TEXT | MESSAGES, completion: TEXT | ANSWER, label: LABEL}
                    yield Known("labelled completions", read, needs)
        whole = {"completion": TEXT | ANSWERED, label: LABEL}
        yield Known("labelled dialogues", UnpairedFormat(label=label), whole)
