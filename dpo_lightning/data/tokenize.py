"""An example -> token ids: the only place that decides on BOS, EOS, the prompt's boundary and truncation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from dpo_lightning.batch import TokenizedExample
from dpo_lightning.data.control_tokens import OPEN, ControlTokens
from dpo_lightning.data.formats import Conversation, Example
from dpo_lightning.errors import InputError
from dpo_lightning.utils.text import one_line

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Texts after which a completion is tokenised where its first characters would merge with the prompt's last ones.
# After one of them, a SentencePiece tokenizer does not put a space of its own before the completion.
_ANCHORS = ("\n", ".", "a")


class Outcome(IntEnum):
    """Fate of an example; everything but `KEPT` is dropped and counted."""

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


class Encoded(NamedTuple):
    """An example as token ids, what became of it, and whether anything was cut off."""

    example: TokenizedExample
    outcome: Outcome
    truncated: bool


class RenderedExample(NamedTuple):
    """An example as the text that the model sees, BOS and EOS of plain text left out.

    Attributes:
        row: Row of the source data.
        source: What the row says.
        prompt: Text of the prompt.
        completions: Text of each completion.
        templated: Whether a chat template has written it, which has put its own special tokens.
    """

    row: int
    source: Example
    prompt: str
    completions: list[str]
    templated: bool

    @property
    def quotes(self) -> bool:
        """True where control tokens that it spells are quoted, and stay text."""
        return any(OPEN in text for text in (self.prompt, *self.completions))

    @property
    def empty(self) -> bool:
        """True where a completion says nothing."""
        return any(map(_is_blank, self.source.completions))


@dataclass(frozen=True)
class ExampleTokenizer:
    """Tokenises examples so that all completions continue the very same prompt tokens.

    The prompt is tokenised alone. A completion is what the joint text adds to it; where the joint text would merge
    across the boundary, the completion is tokenised apart. Text gets what the tokenizer itself puts in front (BOS), and
    one EOS; a conversation gets what its chat template writes, and an EOS if the template ends without a special token.
    Control tokens that a text spells are the tokenizer's own unless `quote` has marked them.

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

    def __call__(self, example: Example, row: int = 0) -> Encoded:
        """Tokenise one example, truncate, and say what became of it."""
        return self.encode([self.render(example, row)])[0]

    def quote(self, text: str) -> str:
        """Mark the control tokens that a text of the data spells, so that they stay text; for `Format.examples`."""
        return self._control.quote(text)

    def render(self, example: Example, row: int) -> RenderedExample:
        """Write an example as text.

        Args:
            example: What the row says.
            row: Row of the source data.

        Raises:
            InputError: when a conversation meets no chat template, or one that does not fit it.
        """
        if isinstance(example.prompt, str):
            texts = [_text(completion) for completion in example.completions]
            return RenderedExample(row, example, example.prompt, texts, templated=False)
        prompt = self._write(example.prompt, answered=False)
        written = [
            self._continuation(prompt, self._write(example.prompt + _messages(completion), answered=True))
            for completion in example.completions
        ]
        return RenderedExample(row, example, prompt, written, templated=True)

    def encode(self, examples: Sequence[RenderedExample]) -> list[Encoded]:
        """Tokenise examples, truncate them, and say what became of each."""
        prompts = self._ids([each.prompt for each in examples])
        joint = iter(self._ids([each.prompt + completion for each in examples for completion in each.completions]))
        return [
            self._encode(each, prompt, [next(joint) for _ in each.completions])
            for each, prompt in zip(examples, prompts, strict=True)
        ]

    def _encode(self, rendered: RenderedExample, prompt: list[int], joint: list[list[int]]) -> Encoded:
        completions = [
            self._end(self._continue(prompt, whole, text), rendered.templated)
            for whole, text in zip(joint, rendered.completions, strict=True)
        ]
        return self._fit(rendered, prompt if rendered.templated else self._begin(prompt), completions)

    def _fit(self, rendered: RenderedExample, prompt: list[int], completions: list[list[int]]) -> Encoded:
        cut_prompt = self._cut_prompt(prompt)
        room = max(0, self.max_length - len(cut_prompt))
        cut = [completion[:room] for completion in completions]
        truncated = len(cut_prompt) < len(prompt) or cut != completions
        source = rendered.source
        example = TokenizedExample(rendered.row, cut_prompt, cut, label=source.label, columns=source.columns)
        return Encoded(example, _outcome(example, empty=rendered.empty), truncated)

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
        """Return whether the last token that is not white space is a special one."""
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
        """Tokens that the tokenizer puts in front of a text: its BOS, none, or more than one."""
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


def _outcome(example: TokenizedExample, *, empty: bool) -> Outcome:
    if empty:
        return Outcome.EMPTY_COMPLETION
    if not example.prompt_ids:
        return Outcome.EMPTY_PROMPT
    first, *others = example.completion_ids
    if not first:
        return Outcome.NO_ROOM
    return Outcome.IDENTICAL if others and all(first == other for other in others) else Outcome.KEPT


def _text(completion: str | Conversation) -> str:
    if not isinstance(completion, str):
        raise InputError("the prompt is text, and a completion is a list of messages")
    return completion


def _messages(completion: str | Conversation) -> Conversation:
    if isinstance(completion, str):
        raise InputError("the prompt is a list of messages, and a completion is text")
    return completion


def _is_blank(completion: str | Conversation) -> bool:
    if isinstance(completion, str):
        return not completion.strip()
    return not any(message["content"].strip() for message in completion)
