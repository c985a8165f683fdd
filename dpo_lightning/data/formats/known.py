"""The formats that are found by looking at rows: for each, the columns that it needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from enum import IntEnum
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

QUESTIONS = ("question", "instruction", "query")
ITEM_PROMPTS = ("prompt", *QUESTIONS, "input")
"""Prompts of lists whose items hold a completion and its score."""

SCORED_PROMPTS = (*ITEM_PROMPTS, "context")
"""Prompts of completions whose scores stand beside them."""

PROMPTS = (*SCORED_PROMPTS, "history", "messages", "conversations")
PAIRS = (
    ("chosen", "rejected"),
    ("chosen_response", "rejected_response"),
    ("response_j", "response_k"),
    ("response", "rejected_response"),
    ("accepted", "rejected"),
    ("preferred", "rejected"),
    ("preferred", "dispreferred"),
    ("preferred_output", "non_preferred_output"),
)
SIDES_OF = ("response", "answer", "completion", "output", "generation")
ENDS = (("_a", "_b"), ("_A", "_B"), ("_1", "_2"), ("_0", "_1"), ("1", "2"))
VERDICTS = ("winner", "preference", "preferred", "better", "chosen", "label", "choice")
SCORES = ("score", "rating", "reward", "winner_model")
LISTS_OF = ("completions", "responses", "answers", "candidates")
TEXTS_OF = (*LISTS_OF, "generations", "all_generated_responses")
BESIDE = ("scores", "ratings", "rating", "rewards", "all_rm_scores", "ranks", "ranking")
TEXTS_IN = ("response", "text", "completion", "answer", "content", "output", "message", "messages")
SINGLE = ("completion", "response", "output", "answer")
SAID = ("label", "labels", "kto_tag", "thumbs_up", "desirable")
LABELS = (*SAID, "rating", "stars", "score", "feedback", "helpfulness")
LATE = ("input", "context", "history")
"""Prompts of rows that have none under another name; beside one they are a further part of it."""


class Rank(IntEnum):
    """Ranks of formats that read the same rows: one before the others, and one that gives way to them."""

    FIRST = 0
    USUAL = 1
    LAST = 2


class Known(NamedTuple):
    """A format that rows may have.

    Attributes:
        title: Its name for the reader.
        format: Reads such rows.
        needs: Its columns, or paths to their fields, and the kind of each.
        rank: Its rank among others that read the rows as well.
    """

    title: str
    format: Format
    needs: Mapping[str, Kind]
    rank: Rank = Rank.USUAL

    def fits(self, rows: Sequence[Mapping[str, Any]]) -> bool:
        """Return whether rows have what it needs."""
        return not any(_lacking(rows, path, kind) for path, kind in self.needs.items())

    def lacking(self, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """Return what the rows have not of it, each in words; empty where they are of this format."""
        return [said for path, kind in self.needs.items() if (said := _lacking(rows, path, kind))]

    def absent(self, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """Return the columns that it needs and of which rows have no value."""
        return [path for path in self.needs if first_value(rows, path) is None]

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
    yield Known("pairs", RowFormat(), {"prompt": plain, "chosen": plain, "rejected": plain}, Rank.FIRST)
    yield Known("dialogues with an implicit prompt", RowFormat(), dict.fromkeys(("chosen", "rejected"), plain))
    for prompt in PROMPTS:
        for chosen, rejected in PAIRS:
            read, answer = RowFormat(prompt, chosen, rejected), TEXT | PLAIN_ANSWER
            yield Known("pairs", read, {prompt: TEXT, chosen: plain, rejected: plain}, _rank(prompt))
            yield Known("pairs", read, {prompt: PLAIN, chosen: answer, rejected: answer}, _rank(prompt))


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
    for prompt in QUESTIONS:
        texts = dict.fromkeys((prompt, "chosen", "rejected"), TEXT)
        yield Known("question with a system text", QuestionFormat(prompt, system="system"), {"system": TEXT, **texts})
        if prompt == "instruction":
            yield Known("Alpaca ranking", AlpacaFormat(), {"input": TEXT, **texts})
            yield Known("Alpaca ranking", AlpacaFormat(system="system"), {"system": TEXT, "input": TEXT, **texts})


def _compared() -> Iterator[Known]:
    helpsteer3 = HelpSteerFormat("context", first="response1", second="response2", preference="overall_preference")
    prometheus = ArenaFormat(
        "orig_instruction", first="orig_response_A", second="orig_response_B", preference="orig_preference"
    )
    summaries = ComparedFormat("info.post", first="summaries.0.text", second="summaries.1.text", preference="choice")
    for title, each in (
        ("SHP", SHPFormat()),
        ("PKU-SafeRLHF", SafeRLHFFormat()),
        ("HelpSteer2 preferences", HelpSteerFormat()),
        ("HelpSteer3 preferences", helpsteer3),
        ("arena battles", ArenaFormat()),
        ("AlpacaEval annotations", AlpacaEvalFormat()),
        ("comparisons of summaries", summaries),
        ("Prometheus preferences", prometheus),
    ):
        yield _comparison(title, each, {each.prompt: TEXT | MESSAGES})
    safer = SafeRLHFFormat(preference="safer_response_id")
    yield _comparison("PKU-SafeRLHF", safer, {safer.prompt: TEXT | MESSAGES})._replace(rank=Rank.LAST)
    yield _comparison("arena battles", ArenaFormat(first="conversation_a", second="conversation_b"), {})
    for of, (one, other) in product(SIDES_OF, ENDS):
        for prompt in PROMPTS:
            read = ArenaFormat(prompt, first=of + one, second=of + other)
            yield from _in_words(read)
            yield from _by_scores(read, one, other) if prompt in SCORED_PROMPTS else ()
    yield from _by_scores(ComparedFormat("question.full_text", first="answer_0", second="answer_1"), "_0", "_1")


def _in_words(read: ComparedFormat) -> Iterator[Known]:
    for preference in VERDICTS:
        each = replace(read, preference=preference)
        needs = _comparison("", each, {read.prompt: TEXT | MESSAGES}).needs
        needs = {**needs, preference: word_of(each.words)}
        yield Known("comparison in words", each, needs, _rank(read.prompt))


def _by_scores(read: ComparedFormat, one: str, other: str) -> Iterator[Known]:
    for score in SCORES:
        scores = [score + one, score + other]
        said = {read.prompt: TEXT | MESSAGES, **dict.fromkeys((read.first, read.second), TEXT | MESSAGES)}
        needs = {**said, **dict.fromkeys(scores, NUMBER)}
        by_scores = ComparedFormat(read.prompt, first=read.first, second=read.second, scores=scores)
        yield Known("comparison by scores", by_scores, needs, Rank.LAST)


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
    for prompt, list_name, number in product(SCORED_PROMPTS, TEXTS_OF, BESIDE):
        fields = _number(number.startswith("rank"), number)
        yield from _both("scored list", prompt, list_name, TEXTS | LISTS, {number: NUMBERS}, **fields)
    for prompt, list_name in (*product(ITEM_PROMPTS, LISTS_OF), ("prompt", "replies"), ("history", "replies")):
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
        read = form(prompt, completions=completions, **settings)  # type: ignore[arg-type]
        yield Known(title, read, needs, _rank(prompt) if title == "scored list" else Rank.USUAL)


def _labelled() -> Iterator[Known]:
    for label in LABELS:
        rank = Rank.FIRST if label in SAID else Rank.USUAL
        for dialogue in ("messages", "conversations"):
            read = UnpairedFormat("prompt", dialogue, label)
            yield Known("labelled dialogues", read, {dialogue: ANSWERED, label: LABEL}, rank)
        for completion, prompt in product(SINGLE, PROMPTS):
            if prompt != completion:
                read = UnpairedFormat(prompt, completion, label)
                needs = {prompt: TEXT | MESSAGES, completion: TEXT | ANSWER, label: LABEL}
                yield Known("labelled completions", read, needs, _rank(prompt, rank))
        whole = {"completion": TEXT | ANSWERED, label: LABEL}
        yield Known("labelled dialogues", UnpairedFormat(label=label), whole, rank)


def _rank(prompt: str, usual: Rank = Rank.USUAL) -> Rank:
    return Rank.LAST if prompt in LATE else usual
