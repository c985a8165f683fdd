"""A preference triple -> token ids: the only place that decides on BOS, EOS, the prompt's boundary and truncation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, cast

from dpo_lightning.data.control_tokens import OPEN, ControlTokens
from dpo_lightning.data.formats import Conversation, PreferencePair
from dpo_lightning.errors import InputError
from dpo_lightning.utils.text import one_line

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Texts after which a completion is tokenised where its first characters would merge with the prompt's last ones.
# After one of them, a SentencePiece tokenizer does not put a space of its own before the completion.
_ANCHORS = ("\n", ".", "a")


class Outcome(IntEnum):
    """What became of a pair; everything but ``KEPT`` is dropped and counted."""

    KEPT = 0
    EMPTY_COMPLETION = 1
    EMPTY_PROMPT = 2
    NO_ROOM = 3
    IDENTICAL = 4

    @property
    def reason(self) -> str:
        """The words of the report."""
        return {
            Outcome.KEPT: "kept",
            Outcome.EMPTY_COMPLETION: "with an empty completion",
            Outcome.EMPTY_PROMPT: "with an empty prompt and no BOS token",
            Outcome.NO_ROOM: "whose prompt fills max_length",
            Outcome.IDENTICAL: "whose completions are identical after truncation",
        }[self]


class Encoding(NamedTuple):
    """Token ids of a triple, what became of it, and whether anything was cut off.

    A single completion is the chosen one, and the rejected one has no tokens.
    """

    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]
    outcome: Outcome
    truncated: bool

    @property
    def length(self) -> int:
        """Tokens of the longer of the two sequences, prompt included."""
        return len(self.prompt_ids) + max(len(self.chosen_ids), len(self.rejected_ids))

    @property
    def tokens(self) -> int:
        """Tokens of prompt, chosen and rejected completion, each once."""
        return len(self.prompt_ids) + len(self.chosen_ids) + len(self.rejected_ids)


class RenderedPair(NamedTuple):
    """A triple as the text that the model sees, BOS and EOS of plain text left out."""

    prompt: str
    chosen: str
    rejected: str | None  # None for a single completion
    templated: bool  # written by a chat template, which has put its own special tokens
    empty: bool  # a completion says nothing

    @property
    def quotes(self) -> bool:
        """Whether control tokens that it spells are quoted, and stay text."""
        return any(OPEN in text for text in (self.prompt, *self.completions))

    @property
    def completions(self) -> tuple[str, ...]:
        """The two, or the only one."""
        return (self.chosen,) if self.rejected is None else (self.chosen, self.rejected)


@dataclass(frozen=True)
class PairTokenizer:
    """Tokenises triples so that both completions continue the very same prompt tokens.

    The prompt is tokenised alone. A completion is what the joint text adds to it; where the joint text would merge
    across the boundary, the completion is tokenised apart. Text gets what the tokenizer itself puts in front (BOS), and
    one EOS; a conversation gets what its chat template writes, and an EOS if the template ends without a special token.
    Control tokens that a text spells are the tokenizer's own unless :meth:`quote` has marked them.

    Args:
        tokenizer: A Hugging Face tokenizer with an EOS token.
        max_length: Most tokens of prompt and completion together. A completion keeps its start.
        max_prompt_length: Most tokens of the prompt, which keeps its BOS and its end.

    Raises:
        InputError: when the tokenizer has no EOS token, or a length is not positive.
    """

    tokenizer: PreTrainedTokenizerBase
    max_length: int
    max_prompt_length: int | None = None

    def __post_init__(self) -> None:
        if self.tokenizer.eos_token_id is None:
            raise InputError(f"tokenizer {self.tokenizer.name_or_path!r} has no EOS token: set `eos_token` on it")
        for name in ("max_length", "max_prompt_length"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"data.{name} must be at least 1, got {value}")

    def __call__(self, pair: PreferencePair) -> Encoding:
        """Tokenise one triple, truncate, and say what became of it."""
        return self.encode([self.render(pair)])[0]

    def quote(self, text: str) -> str:
        """Mark the control tokens that a text of the data spells, so that they stay text; for `RowFormat.parse`."""
        return self._control.quote(text)

    def render(self, pair: PreferencePair) -> RenderedPair:
        """Write a triple as text.

        Raises:
            InputError: when a conversation meets no chat template, or one that does not fit it.
        """
        replies = [reply for reply in (pair.chosen, pair.rejected) if reply is not None]
        empty = any(map(_is_blank, replies))
        if isinstance(pair.prompt, str):
            return RenderedPair(pair.prompt, *_two(cast(list[str], replies)), False, empty)
        prompt = self._write(pair.prompt, answered=False)
        written = [
            self._continuation(prompt, self._write(pair.prompt + cast(Conversation, reply), answered=True))
            for reply in replies
        ]
        return RenderedPair(prompt, *_two(written), True, empty)

    def encode(self, pairs: Sequence[RenderedPair]) -> list[Encoding]:
        """Tokenise triples, truncate them, and say what became of each."""
        prompts = self._ids([pair.prompt for pair in pairs])
        joint = iter(self._ids([pair.prompt + completion for pair in pairs for completion in pair.completions]))
        return [
            self._encode(pair, prompt, [next(joint) for _ in pair.completions])
            for pair, prompt in zip(pairs, prompts, strict=True)
        ]

    def _encode(self, pair: RenderedPair, prompt: list[int], joint: list[list[int]]) -> Encoding:
        replies = (
            self._end(self._continue(prompt, whole, text), pair.templated)
            for whole, text in zip(joint, pair.completions, strict=True)
        )
        return self._fit(pair, prompt if pair.templated else self._begin(prompt), *replies)

    def _fit(self, pair: RenderedPair, prompt: list[int], chosen: list[int], rejected: Sequence[int] = ()) -> Encoding:
        cut_prompt = self._cut_prompt(prompt)
        room = max(0, self.max_length - len(cut_prompt))
        cut = cut_prompt, chosen[:room], list(rejected[:room])
        truncated = sum(map(len, cut)) < len(prompt) + len(chosen) + len(rejected)
        return Encoding(*cut, _outcome(pair, *cut), truncated)

    def _cut_prompt(self, prompt: list[int]) -> list[int]:
        limit = self.max_prompt_length
        if limit is None or len(prompt) <= limit:
            return prompt
        head = next((head for head in (self._opening, self._bos) if head and prompt[: len(head)] == head), [])[:limit]
        return head + prompt[len(prompt) - (limit - len(head)) :]

    def _continue(self, prompt_ids: list[int], joint_ids: list[int], completion: str) -> list[int]:
        if joint_ids[: len(prompt_ids)] == prompt_ids:
            return joint_ids[len(prompt_ids) :]
        text = self.tokenizer.decode(joint_ids)
        apart = [ids for anchor in _ANCHORS if (ids := self._after(anchor, completion)) is not None]
        apart += self._ids([completion])
        return next((ids for ids in apart if self.tokenizer.decode(prompt_ids + ids) == text), apart[0])

    def _after(self, anchor: str, completion: str) -> list[int] | None:
        before, both = self._ids([anchor, anchor + completion])
        return both[len(before) :] if both[: len(before)] == before else None

    def _ids(self, texts: list[str]) -> list[list[int]]:
        return self._control.encode(texts)

    @cached_property
    def _control(self) -> ControlTokens:
        return ControlTokens(self.tokenizer)

    def _begin(self, ids: list[int]) -> list[int]:
        return ids if ids[: len(self._opening)] == self._opening else self._opening + ids

    def _end(self, ids: list[int], templated: bool) -> list[int]:
        eos = self.tokenizer.eos_token_id
        ends = self._closes(ids) if templated else ids[-1:] == [eos]
        return ids if ends else [*ids, eos]

    def _closes(self, ids: list[int]) -> bool:
        """Whether the last token that is not white space is a special one."""
        for token in reversed(ids):
            if token in self._special:
                return True
            if self.tokenizer.decode([token]).strip():
                return False
        return False

    @property
    def _bos(self) -> list[int]:
        return [] if self.tokenizer.bos_token_id is None else [self.tokenizer.bos_token_id]

    @cached_property
    def _opening(self) -> list[int]:
        """What the tokenizer puts in front of a text: its BOS, nothing, or more than one token."""
        whole, bare = self.tokenizer("a")["input_ids"], self._ids(["a"])[0]
        start = next(start for start in range(len(whole) + 1) if whole[start : start + len(bare)] == bare)
        return whole[:start]

    @cached_property
    def _special(self) -> frozenset[int]:
        added = self.tokenizer.added_tokens_decoder.items()
        return frozenset(self.tokenizer.all_special_ids).union(token for token, entry in added if entry.special)

    def _write(self, messages: Conversation, answered: bool) -> str:
        if self.tokenizer.chat_template is None:
            raise InputError(
                f"the rows are message lists, but tokenizer {self.tokenizer.name_or_path!r} has no chat template: "
                "give one in `data.chat_template`"
            )
        try:
            return self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=not answered)
        except Exception as error:  # a template is a program, and raises whatever it likes
            raise InputError(f"the chat template does not take these messages: {one_line(error, 1000)}") from None

    def _continuation(self, prompt: str, dialogue: str) -> str:
        if not dialogue.startswith(prompt):
            raise InputError(
                "the chat template writes a prompt differently once it is answered, so the completion has no clear "
                "start: give another template in `data.chat_template`"
            )
        return dialogue[len(prompt) :]


def _outcome(pair: RenderedPair, prompt: list[int], chosen: list[int], rejected: list[int]) -> Outcome:
    if pair.empty:
        return Outcome.EMPTY_COMPLETION
    if not prompt:
        return Outcome.EMPTY_PROMPT
    if not chosen:
        return Outcome.NO_ROOM
    return Outcome.IDENTICAL if chosen == rejected else Outcome.KEPT


def _two(completions: list[str]) -> tuple[str, str | None]:
    """The completions, with None for a second one that is not there."""
    return completions[0], completions[1] if len(completions) > 1 else None


def _is_blank(completion: str | Conversation) -> bool:
    if isinstance(completion, str):
        return not completion.strip()
    return not any(message["content"].strip() for message in completion)
