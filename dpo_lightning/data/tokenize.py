"""A preference triple -> token ids: the only place that decides on BOS, EOS, the prompt's boundary and truncation."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from dpo_lightning.data.formats import Conversation, PreferencePair
from dpo_lightning.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


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
    """Token ids of a triple, what became of it, and whether anything was cut off."""

    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]
    outcome: Outcome
    truncated: bool

    @property
    def length(self) -> int:
        """Tokens of the longer of the two sequences, prompt included."""
        return len(self.prompt_ids) + max(len(self.chosen_ids), len(self.rejected_ids))


@dataclass(frozen=True)
class PairTokenizer:
    """Tokenises triples so that both completions continue the very same prompt tokens.

    The prompt is tokenised alone. A completion is what the joint text adds to it; where the joint text would merge
    across the boundary, the completion is tokenised apart. Text gets the tokenizer's own BOS and one EOS; a
    conversation gets what its chat template writes, and an EOS if the template ends without a special token.

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
        """Tokenise, truncate, and say what became of the pair."""
        if isinstance(pair.prompt, str):
            prompt, chosen, rejected = self._encode_text(pair)
        else:
            prompt, chosen, rejected = self._encode_conversation(pair)
        cut_prompt = self._cut_prompt(prompt)
        room = max(0, self.max_length - len(cut_prompt))
        cut_chosen, cut_rejected = chosen[:room], rejected[:room]
        kept = len(cut_prompt) + len(cut_chosen) + len(cut_rejected)
        truncated = kept < len(prompt) + len(chosen) + len(rejected)
        outcome = _outcome(pair, cut_prompt, cut_chosen, cut_rejected)
        return Encoding(cut_prompt, cut_chosen, cut_rejected, outcome, truncated)

    def _cut_prompt(self, prompt: list[int]) -> list[int]:
        limit = self.max_prompt_length
        if limit is None or len(prompt) <= limit:
            return prompt
        bos = prompt[:1] if prompt[0] == self.tokenizer.bos_token_id else []
        tail = limit - len(bos)
        return bos + prompt[len(prompt) - tail :]

    def _encode_text(self, pair: PreferencePair) -> tuple[list[int], list[int], list[int]]:
        prompt = cast(str, pair.prompt)
        prompt_ids = self._ids(prompt)
        chosen, rejected = (self._end(self._continue(prompt_ids, prompt, cast(str, text))) for text in pair[1:])
        return self._begin(prompt_ids), chosen, rejected

    def _continue(self, prompt_ids: list[int], prompt: str, completion: str) -> list[int]:
        joint = self._ids(prompt + completion)
        if joint[: len(prompt_ids)] == prompt_ids:
            return joint[len(prompt_ids) :]
        # After a line break a SentencePiece tokenizer does not put a space of its own before the completion.
        anchor = self._ids("\n")
        anchored = self._ids("\n" + completion)
        return anchored[len(anchor) :] if anchored[: len(anchor)] == anchor else self._ids(completion)

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def _begin(self, ids: list[int]) -> list[int]:
        bos = self.tokenizer.bos_token_id
        adds_bos = bos is not None and self.tokenizer("")["input_ids"][:1] == [bos]
        return [bos, *ids] if adds_bos and ids[:1] != [bos] else ids

    def _end(self, ids: list[int]) -> list[int]:
        eos = self.tokenizer.eos_token_id
        return ids if ids[-1:] == [eos] else [*ids, eos]

    def _encode_conversation(self, pair: PreferencePair) -> tuple[list[int], list[int], list[int]]:
        prompt = cast(Conversation, pair.prompt)
        prompt_ids = self._template(prompt, tokenize=True, add_generation_prompt=True)
        chosen, rejected = (self._reply(prompt, prompt_ids, cast(Conversation, reply)) for reply in pair[1:])
        return prompt_ids, chosen, rejected

    def _reply(self, prompt: Conversation, prompt_ids: list[int], reply: Conversation) -> list[int]:
        joint = self._template(prompt + reply, tokenize=True)
        if joint[: len(prompt_ids)] == prompt_ids:
            ids = joint[len(prompt_ids) :]
        else:
            text, prompt_text = (
                self._template(messages, tokenize=False, add_generation_prompt=generate)
                for messages, generate in ((prompt + reply, False), (prompt, True))
            )
            if not text.startswith(prompt_text):
                raise InputError("the chat template writes a prompt differently once it is answered")
            ids = self._ids(text[len(prompt_text) :])
        return ids if self._closes(ids) else self._end(ids)

    def _closes(self, ids: list[int]) -> bool:
        special = set(self.tokenizer.all_special_ids)
        for token in reversed(ids):
            if token in special:
                return True
            if self.tokenizer.decode([token]).strip():
                return False
        return False

    def _template(self, messages: Conversation, **options: Any) -> Any:
        if self.tokenizer.chat_template is None:
            raise InputError(
                f"the rows are message lists, but tokenizer {self.tokenizer.name_or_path!r} has no chat template: "
                "give one in `data.chat_template`"
            )
        if options["tokenize"]:
            options["return_dict"] = False
        return self.tokenizer.apply_chat_template(messages, **options)


def _outcome(pair: PreferencePair, prompt: list[int], chosen: list[int], rejected: list[int]) -> Outcome:
    if any(_is_blank(completion) for completion in pair[1:]):
        return Outcome.EMPTY_COMPLETION
    if not prompt:
        return Outcome.EMPTY_PROMPT
    if not chosen:
        return Outcome.NO_ROOM
    return Outcome.IDENTICAL if chosen == rejected else Outcome.KEPT


def _is_blank(completion: str | Conversation) -> bool:
    if isinstance(completion, str):
        return not completion.strip()
    return not any(message["content"].strip() for message in completion)
