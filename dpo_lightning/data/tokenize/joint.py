"""Token ids of a prompt together with what continues it, for which the prompt is tokenised once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dpo_lightning.data.tokenize.cuts import Cuts

Ids = list[int]


class _Pair(NamedTuple):
    prompt: str
    prompt_ids: Ids
    completion: str
    tail: str

    @property
    def whole(self) -> str:
        return self.prompt + self.completion

    @property
    def is_cut(self) -> bool:
        return len(self.tail) < len(self.prompt)


@dataclass(frozen=True)
class JointEncoder:
    """Tokenises prompts with their completions: the ids are those of the whole text, and most of it is not read again.

    Where a tokenizer lets a prompt be cut, only what follows the last cut is tokenised with the completion.

    Args:
        encode: Tokenises texts.
        cuts: Where it lets a text be cut; None where nothing is known of that.
    """

    encode: Callable[[Sequence[str]], list[Ids]]
    cuts: Cuts | None

    def __call__(
        self, prompts: Sequence[str], prompt_ids: Sequence[Ids], completions: Sequence[Sequence[str]]
    ) -> Iterator[Ids]:
        """Yield the ids of each prompt with each of its completions, prompt by prompt.

        Args:
            prompts: The texts.
            prompt_ids: The ids of each.
            completions: What continues each of them.
        """
        pairs = [
            _Pair(prompt, ids, completion, self._tail(prompt, completion))
            for prompt, ids, continued in zip(prompts, prompt_ids, completions, strict=True)
            for completion in continued
        ]
        parts = self.encode([self._part(each.tail + each.completion) if each.is_cut else each.whole for each in pairs])
        tails = self._tails(pairs)
        for each, part in zip(pairs, parts, strict=True):
            yield self._joined(each, tails[each.tail], part) if each.is_cut else part

    def _joined(self, pair: _Pair, tail: Ids, part: Ids) -> Ids:
        start = len(pair.prompt_ids) - len(tail)
        if start < 0 or pair.prompt_ids[start:] != tail:  # no tokenizer is known to do that
            return self.encode([pair.whole])[0]
        return pair.prompt_ids[:start] + part

    def _tails(self, pairs: Sequence[_Pair]) -> dict[str, Ids]:
        texts = list(dict.fromkeys(each.tail for each in pairs if each.is_cut and each.tail))
        return {"": [], **dict(zip(texts, self.encode([self._part(text) for text in texts]), strict=True))}

    def _tail(self, prompt: str, completion: str) -> str:
        return prompt if self.cuts is None else self.cuts.tail(prompt, completion)

    def _part(self, text: str) -> str:
        return text if self.cuts is None else self.cuts.text(text)
