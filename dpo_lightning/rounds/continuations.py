"""Continuations of a prompt and the first tokens of its answer, and all of these as training tokenises them."""

from __future__ import annotations

import datetime
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from torch import nn

from dpo_lightning.data.formats import Example, RowFormat
from dpo_lightning.data.formats.messages import quoted
from dpo_lightning.data.formats.template_inputs import template_inputs
from dpo_lightning.data.tokenize import ExampleTokenizer
from dpo_lightning.errors import InputError
from dpo_lightning.policy.decoding import completion_texts
from dpo_lightning.policy.sampling import Sampling, ending_tokens, prompt_batches, sample_batches
from dpo_lightning.reference.cache.weights import weights_hash
from dpo_lightning.rounds.candidates import Candidates
from dpo_lightning.rounds.endpoint import Endpoint
from dpo_lightning.rounds.prompts import Prompt, as_messages

_ANY_LENGTH = 1 << 30


class Continuation(NamedTuple):
    """An answer that goes on from its first tokens.

    Attributes:
        text: The whole answer.
        first: The token that it went on with; None where it ended at once, or nobody knows.
    """

    text: str
    first: int | None


class TrainingTokens:
    """Tokens as a fit with `data.eos: never` has them, and the texts that give them.

    Args:
        tokenizer: A Hugging Face tokenizer.
        date: What its chat template gets when it asks for the time; None for the clock.
    """

    def __init__(self, tokenizer: Any, date: datetime.date | None = None) -> None:
        self.tokenizer = tokenizer
        self._tokenize = ExampleTokenizer(tokenizer, _ANY_LENGTH, template_date=date, eos="never")

    @property
    def made(self) -> Mapping[str, str]:
        """All that decides on the tokens, as JSON."""
        return {"tokens": blake2b(repr(self._tokenize.identity).encode(), digest_size=16).hexdigest()}

    def of(self, prompt: Prompt, answer: str, beside: Mapping[str, Any]) -> tuple[list[int], list[int]]:
        """Return the tokens of a prompt and of an answer.

        Raises:
            InputError: for a prompt that the chat template cannot write.
        """
        quote = self._tokenize.quote
        inputs = template_inputs({} if isinstance(prompt, str) else beside, quote)
        example = self._tokenize(Example(quoted(prompt, quote), [quote(answer)], **inputs)).example
        return list(example.prompt_ids), list(example.completion_ids[0])

    def text(self, before: Sequence[int], ids: Sequence[int]) -> str | None:
        """Return what tokens add to the text of others; None where that is no text of its own."""
        head, whole = (self.tokenizer.decode(each, skip_special_tokens=False) for each in (before, [*before, *ids]))
        added = whole[len(head) :] if whole.startswith(head) else None
        return None if added is None or "\N{REPLACEMENT CHARACTER}" in added else added

    def pair(
        self, asked: Candidates, begun: tuple[list[int], list[int]], chosen: int, rejected: int
    ) -> dict[str, Any] | None:
        """Return the row of a pair of single tokens; None where training would have other tokens than these.

        Args:
            asked: The row with the prompt; its other columns stay.
            begun: Tokens of the prompt, and of the answer before the two.
            chosen: The better token.
            rejected: The worse one.
        """
        before, prefix = begun
        added = self.text(before, prefix)
        texts = [self.text([*before, *prefix], [each]) for each in (chosen, rejected)]
        if added is None or None in texts:
            return None
        row = {"prompt": _with_prefix(asked.prompt, added), "chosen": texts[0], "rejected": texts[1], **asked.beside}
        try:
            (example,) = RowFormat().examples(row, self._tokenize.quote)
            tokens = self._tokenize(example).example
        except InputError:  # such as a template that does not write what it is to continue
            return None
        same = list(tokens.prompt_ids) == [*before, *prefix]
        return row if same and [list(each) for each in tokens.completion_ids] == [[chosen], [rejected]] else None


def _with_prefix(prompt: Prompt, prefix: str) -> Prompt:
    if isinstance(prompt, str):
        return prompt + prefix
    if not prefix:
        return prompt
    if prompt[-1]["role"] == "assistant":
        return [*prompt[:-1], {**prompt[-1], "content": prompt[-1]["content"] + prefix}]
    return [*as_messages(prompt), {"role": "assistant", "content": prefix}]


class Continuer(ABC):
    """Goes on with answers.

    Args:
        tokens: Tokens as training has them.
        sampling: How to sample; `samples_per_prompt` is the number of continuations.
    """

    def __init__(self, tokens: TrainingTokens, sampling: Sampling) -> None:
        self.tokens, self.sampling = tokens, sampling

    @property
    @abstractmethod
    def made(self) -> Mapping[str, Any]:
        """All that decides on the continuations, as JSON."""

    @property
    @abstractmethod
    def end(self) -> int:
        """A token that ends an answer."""

    @abstractmethod
    def continued(self, before: list[int], prefix: list[int], seed: int) -> list[Continuation]:
        """Sample continuations of the first tokens of an answer.

        Args:
            before: Tokens of the prompt.
            prefix: First tokens of the answer.
            seed: Seed of the samples.
        """

    def answer(self, ids: Sequence[int]) -> str:
        """Return the text of an answer, as `generate` writes it."""
        return completion_texts(self.tokens.tokenizer, [ids])[0]


class PolicyContinuer(Continuer):
    """Goes on by a model of transformers.

    Args:
        model: A causal LM, on its device.
        name: Its name.
        tokens: Tokens as training has them.
        sampling: How to sample.
    """

    def __init__(self, model: nn.Module, name: str, tokens: TrainingTokens, sampling: Sampling) -> None:
        super().__init__(tokens, sampling)
        self._model = model
        self._ends = ending_tokens(model, tokens.tokenizer.eos_token_id)
        self._made = {"model": name, "weights": weights_hash(model), **tokens.made, **_settings(sampling)}

    @property
    def made(self) -> Mapping[str, Any]:
        """The model, its weights, and the settings of the sampling."""
        return self._made

    @property
    def end(self) -> int:
        """The tokenizer's EOS."""
        found: int = self.tokens.tokenizer.eos_token_id
        return found

    def continued(self, before: list[int], prefix: list[int], seed: int) -> list[Continuation]:
        """Sample continuations of the first tokens of an answer."""
        ids, sampling = [[*before, *prefix]], self.sampling._replace(seed=seed)
        sampled = sample_batches(self._model, ids, prompt_batches(ids, sampling), self.end, sampling)[0]
        firsts = [None if not each or each[0] in self._ends else each[0] for each in sampled]
        return [Continuation(self.answer([*prefix, *each]), first) for each, first in zip(sampled, firsts, strict=True)]


class EndpointContinuer(Continuer):
    """Goes on by a server's model, which is given tokens and has the policy's tokenizer, as vLLM and SGLang do.

    Args:
        endpoint: The model.
        tokens: Tokens as training has them.
        sampling: How to sample.
    """

    def __init__(self, endpoint: Endpoint, tokens: TrainingTokens, sampling: Sampling) -> None:
        super().__init__(tokens, sampling)
        self._endpoint = endpoint

    @property
    def made(self) -> Mapping[str, Any]:
        """The model's name, and the settings of the sampling."""
        return {"model": self._endpoint.model, **self.tokens.made, **_settings(self.sampling)}

    @property
    def end(self) -> int:
        """The tokenizer's EOS."""
        found: int = self.tokens.tokenizer.eos_token_id
        return found

    def continued(self, before: list[int], prefix: list[int], seed: int) -> list[Continuation]:
        """Ask for continuations of the first tokens of an answer."""
        sampling = self.sampling
        replies = self._endpoint.complete(
            [*before, *prefix],
            n=sampling.samples_per_prompt,
            temperature=sampling.temperature,
            max_tokens=sampling.max_new_tokens,
            seed=seed % 2**31,
        )
        begun = self.tokens.text(before, prefix) or ""
        return [Continuation(begun + each.text, self._first(before, prefix, each.text)) for each in replies]

    def _first(self, before: list[int], prefix: list[int], text: str) -> int | None:
        """Return the first token of a text behind others: the one that most of its beginning is."""
        if not text:
            return None
        known = self.tokens.tokenizer.decode([*before, *prefix], skip_special_tokens=False)
        ids = self.tokens.tokenizer(known + text, add_special_tokens=False)["input_ids"]
        count = len(before) + len(prefix)
        return ids[count] if len(ids) > count and ids[:count] == [*before, *prefix] else None


def _settings(sampling: Sampling) -> dict[str, Any]:
    named = sampling._asdict()
    return {name: named[name] for name in ("samples_per_prompt", "max_new_tokens", "temperature", "seed")}
