"""Text -> token ids: BOS, EOS, and the boundary between a prompt and what continues it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from dpo_lightning.data.control_tokens import ControlTokens, balanced
from dpo_lightning.data.special_tokens import special_tokens
from dpo_lightning.data.tokenize.boundary import Boundary, shared_length
from dpo_lightning.data.tokenize.cuts import cuts_of
from dpo_lightning.data.tokenize.joint import JointEncoder
from dpo_lightning.data.tokenize.rendering import RenderedExample
from dpo_lightning.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Texts after which a completion is tokenised where its first characters would merge with the prompt's last ones.
# After one of them, a SentencePiece tokenizer does not put a space of its own before the completion.
_ANCHORS = ("\n", ".", "a")
_CONTEXT = 4


class Place(NamedTuple):
    """A character among tokens.

    Attributes:
        ended: Tokens that end before it.
        begun: Tokens that begin before it.
    """

    ended: int
    begun: int


EosRule: TypeAlias = Literal["auto", "never", "always"]


class Continued(NamedTuple):
    """Ids of a prompt, of each of its completions, and how the prompt ends."""

    prompt: list[int]
    completions: list[list[int]]
    boundary: Boundary


@dataclass(frozen=True)
class TextEncoder:
    """Tokenises prompts and completions so that all completions continue the very same prompt tokens.

    Args:
        tokenizer: A Hugging Face tokenizer with an EOS token.
        eos: Where an EOS is put: with `auto` after text, and after a conversation that its template ends without a
            special token; `never`; `always` where the last token is not one.

    Raises:
        InputError: when the tokenizer has no EOS token.
    """

    tokenizer: PreTrainedTokenizerBase
    eos: EosRule = "auto"

    def __post_init__(self) -> None:
        if self.tokenizer.eos_token_id is None:
            raise InputError(f"tokenizer {self.tokenizer.name_or_path!r} has no EOS token: set `eos_token` on it")

    def quote(self, text: str) -> str:
        """Mark the control tokens that a text of the data spells, so that they stay text."""
        return self._control.quote(text)

    def encode(self, examples: Sequence[RenderedExample]) -> list[Continued]:
        """Return the ids of each example's prompt, and of each of its completions."""
        prompts = self._ids([each.prompt for each in examples])
        joint = self._joint([each.prompt for each in examples], prompts, [each.completions for each in examples])
        return [
            self._encode(each, prompt, [next(joint) for _ in each.completions])
            for each, prompt in zip(examples, prompts, strict=True)
        ]

    def places(
        self, rendered: RenderedExample, tokens: Continued, number: int, characters: Sequence[int]
    ) -> list[Place]:
        """Return where characters of a completion stand among its ids.

        Tokens are found by tokenising what comes before a character: what both have in common stands before it, and
        where that is not all, one or more tokens go across.

        Args:
            rendered: The example.
            tokens: What `encode` or `encode_shared` made of it.
            number: Number of the completion.
            characters: Numbers of characters of its text before which to look.
        """
        ids, completion = tokens.completions[number], rendered.completions[number]
        (prompt,) = self._ids([rendered.prompt])
        before = [balanced(completion[:character]) for character in characters]
        joint = self._joint([rendered.prompt], [prompt], [before])
        if rendered.opened:  # the ids begin where those of the whole texts part, which may be within the prompt's text
            begun, prompt = len(tokens.prompt), tokens.prompt
            return [self._place(prompt, ids, whole[begun:]) for whole in joint]
        return [
            self._place(prompt, ids, self._continue(prompt, whole, text))
            for whole, text in zip(joint, before, strict=True)
        ]

    def _place(self, prompt: list[int], ids: list[int], before: list[int]) -> Place:
        shared = shared_length([ids, before])
        if shared in (len(before), len(ids)):
            return Place(shared, shared)

        def length(count: int, of: list[int] = ids) -> int:
            # Behind tokens of the prompt: of a text alone, a SentencePiece tokenizer leaves the first space out.
            return len(self.tokenizer.decode(prompt[-_CONTEXT:] + of[:count]))

        characters = length(len(before), before)
        begun = next((count for count in range(shared, len(ids)) if length(count) >= characters), len(ids))
        return Place(begun if length(begun) == characters else begun - 1, begun)

    def encode_shared(self, rendered: RenderedExample) -> Continued:
        """Return the ids of an example whose prompt is what it has in common with all of its answered dialogues."""
        if rendered.ids is None:
            whole = [rendered.prompt + completion for completion in rendered.completions]
            prompt, *joint = self._ids([rendered.prompt + rendered.opened, *whole])
        else:
            prompt, joint = rendered.ids
        shared = shared_length([prompt, *joint])
        completions = [self._end(each[shared:], rendered.templated) for each in joint]
        return Continued(prompt[:shared], completions, Boundary.SHARED if shared < len(prompt) else Boundary.CLEAN)

    def keep_end(self, prompt: list[int], limit: int) -> list[int]:
        """Return at most so many of a prompt's ids: what the tokenizer puts in front, and the end."""
        if len(prompt) <= limit:
            return prompt
        head = next((head for head in (self._opening, self._bos) if head and prompt[: len(head)] == head), [])[:limit]
        return head + prompt[len(prompt) - (limit - len(head)) :]

    def _encode(self, rendered: RenderedExample, prompt: list[int], joint: list[list[int]]) -> Continued:
        completions = [
            self._end(self._continue(prompt, whole, text), rendered.templated)
            for whole, text in zip(joint, rendered.completions, strict=True)
        ]
        merged = any(whole[: len(prompt)] != prompt for whole in joint)
        begun = prompt if rendered.templated else self._begin(prompt)
        return Continued(begun, completions, Boundary.MERGED if merged else Boundary.CLEAN)

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

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        return self._control.encode(texts)

    @cached_property
    def _control(self) -> ControlTokens:
        return ControlTokens(self.tokenizer)

    @cached_property
    def _joint(self) -> JointEncoder:
        rules = self._control.rules()
        return JointEncoder(self._ids, None if rules is None else cuts_of(rules))

    def _begin(self, ids: list[int]) -> list[int]:
        return ids if ids[: len(self._opening)] == self._opening else self._opening + ids

    def _end(self, ids: list[int], templated: bool) -> list[int]:
        if self.eos == "never":
            return ids
        closing = self._special if self.eos == "auto" else {self._eos}
        ends = self._last(ids) in closing if templated else ids[-1:] == [self._eos]
        return ids if ends else [*ids, self._eos]

    def _last(self, ids: list[int]) -> int | None:
        """Return the last token that is not white space."""
        return next(
            (each for each in reversed(ids) if each in self._special or self.tokenizer.decode([each]).strip()), None
        )

    @cached_property
    def _eos(self) -> int:
        return self.tokenizer.eos_token_id

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
        return frozenset(special_tokens(self.tokenizer))
