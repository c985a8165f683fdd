"""Completions of prompts, by a model or by a server's, in memory or in a file that a killed command goes on with."""

from __future__ import annotations

import datetime
import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import nn

from dpo_lightning.data.formats import Example
from dpo_lightning.data.tokenize.chat_template import ChatTemplate
from dpo_lightning.data.tokenize.message_forms import says
from dpo_lightning.data.tokenize.prefill import joined
from dpo_lightning.errors import InputError
from dpo_lightning.policy.decoding import completion_texts
from dpo_lightning.policy.sampling import Sampling, ending_tokens, prompt_batches, sample_batches
from dpo_lightning.reference.cache.weights import weights_hash
from dpo_lightning.rounds.candidates import Candidates
from dpo_lightning.rounds.endpoint import Endpoint, Reply
from dpo_lightning.rounds.kept_rows import kept_rows
from dpo_lightning.rounds.prompts import Asked, as_messages, continues, prompt_ids
from dpo_lightning.utils.text import one_line

_BATCHES_OF_A_CHUNK = 4


class Sampler(ABC):
    """Writes completions of prompts."""

    @abstractmethod
    def made(self, asked: Sequence[Asked]) -> dict[str, Any]:
        """Return what decides on the completions, as JSON."""

    @abstractmethod
    def candidates(self, asked: Sequence[Asked], done: int = 0) -> Iterator[list[Candidates]]:
        """Yield the prompts with their completions, in their order, some at a time.

        Args:
            asked: All prompts.
            done: Prompts at the beginning to leave out; the others get the same completions as with none.

        Raises:
            InputError: for a prompt that cannot be continued.
        """


class PolicySampler(Sampler):
    """Samples from a model of transformers, in chunks of prompts whose seeds are their own.

    Args:
        model: A causal LM, on its device.
        tokenizer: Its tokenizer.
        name: Its name, in the rows.
        sampling: How to sample; a chunk is four times `prompts_at_once`.
        plain: Continue texts as they are, though there is a chat template.
        date: What the chat template gets when it asks for the time; None for the clock.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        name: str,
        sampling: Sampling,
        *,
        plain: bool = False,
        date: datetime.date | None = None,
    ) -> None:
        self._model, self._tokenizer, self._name, self._sampling = model, tokenizer, name, sampling
        self._date = date
        self._templated = bool(tokenizer.chat_template) and not plain
        self._ends = set(ending_tokens(model, tokenizer.eos_token_id))

    def made(self, asked: Sequence[Asked]) -> dict[str, Any]:
        """Return model and settings, and the prompts as columns and as tokens."""
        named = {"model": self._name, "weights": weights_hash(self._model), **self._sampling._asdict()}
        return {**named, "prompts": _digest([each.prompt for each in asked], [each.beside for each in asked],
                                            [self._ids(each) for each in asked])}  # fmt: skip

    def candidates(self, asked: Sequence[Asked], done: int = 0) -> Iterator[list[Candidates]]:
        """Yield the prompts with their completions, a chunk at a time."""
        size = _BATCHES_OF_A_CHUNK * self._sampling.prompts_at_once
        for start in range(done - done % size, len(asked), size):
            yield self._chunk(asked[start : start + size], start // size)[max(done - start, 0) :]

    def _chunk(self, asked: Sequence[Asked], number: int) -> list[Candidates]:
        ids = [self._ids(each) for each in asked]
        sampling = self._sampling._replace(seed=own_seed(self._sampling.seed, number))
        batches = prompt_batches(ids, sampling)
        tokens = sample_batches(self._model, ids, batches, self._tokenizer.eos_token_id, sampling)
        rows = [self._row(each, tokens[place]) for place, each in enumerate(asked)]
        if self._templated:
            self._check_written(asked, rows)
        return rows

    def _row(self, asked: Asked, tokens: list[list[int]]) -> Candidates:
        texts = completion_texts(self._tokenizer, tokens)
        ended = [bool(each) and each[-1] in self._ends for each in tokens]
        prompt = as_messages(asked.prompt) if self._templated else asked.prompt
        return Candidates(prompt, texts, None, ended, self._name, asked.beside)

    def _check_written(self, asked: Sequence[Asked], rows: Sequence[Candidates]) -> None:
        """Refuse a chat template that leaves words of most answers out, such as their thoughts: training reads others.

        Raises:
            InputError: with one of the answers.
        """
        pairs = [(each, row, text) for each, row in zip(asked, rows, strict=True) for text in _ended(row)]
        lost = [text for each, row, text in pairs if not self._writes(each, row.prompt, text)]
        if 2 * len(lost) > len(pairs):
            raise InputError(
                f"generate: the chat template leaves words out of {len(lost)} of {len(pairs)} answers, such as "
                f"thoughts: training would read less than was sampled: {one_line(repr(lost[0]), 120)}: give another "
                "template as data.chat_template of --config"
            )

    def _writes(self, asked: Asked, prompt: Any, text: str) -> bool:
        template = ChatTemplate(self._tokenizer, asked.template_arguments, self._date)
        if template.writes_tokens:
            return True
        answered = joined(prompt, [{"role": "assistant", "content": text}])
        return says(template.text(Example(prompt, [], tools=asked.tools), answered), text)

    def _ids(self, asked: Asked) -> list[int]:
        return prompt_ids(asked, self._tokenizer, plain=not self._templated, prefill=True, date=self._date)


class EndpointSampler(Sampler):
    """Samples from a server's model, several prompts at once; the seed of each prompt is its own.

    Args:
        endpoint: The model.
        sampling: How to sample; `prompts_at_once` is not read.
        plain: Continue texts as they are, and do not send them as messages.
    """

    def __init__(self, endpoint: Endpoint, sampling: Sampling, *, plain: bool = False) -> None:
        self._endpoint, self._sampling, self._plain = endpoint, sampling, plain

    def made(self, asked: Sequence[Asked]) -> dict[str, Any]:
        """Return model, settings and prompts; the address is not among them, as a server may move."""
        settings = {name: value for name, value in self._sampling._asdict().items() if name != "prompts_at_once"}
        prompts = _digest([each.prompt for each in asked], [each.beside for each in asked])
        return {"model": self._endpoint.model, "plain": self._plain, **settings, "prompts": prompts}

    def candidates(self, asked: Sequence[Asked], done: int = 0) -> Iterator[list[Candidates]]:
        """Yield the prompts with their completions, one at a time."""
        for number, each in enumerate(asked):
            _check_sent(each, number)
        for row in self._endpoint.in_order(self._row, list(enumerate(asked))[done:]):
            yield [row]

    def _row(self, numbered: tuple[int, Asked]) -> Candidates:
        number, asked = numbered
        sent = asked.prompt if self._plain else as_messages(asked.prompt)
        replies = self._replies(sent, own_seed(self._sampling.seed, number) % 2**31)  # some read it as signed
        texts, ended = [each.text for each in replies], [each.ended for each in replies]
        return Candidates(sent, texts, None, ended, self._endpoint.model, asked.beside)

    def _replies(self, sent: str | list[dict[str, Any]], seed: int) -> list[Reply]:
        sampling = self._sampling
        more = {} if sampling.top_p == 1 else {"top_p": sampling.top_p}
        settings: dict[str, Any] = {
            "n": sampling.samples_per_prompt,
            "temperature": sampling.temperature,
            "max_tokens": sampling.max_new_tokens,
            "seed": seed,
            **more,
        }
        if isinstance(sent, str):
            return self._endpoint.complete(sent, **settings)
        return self._endpoint.chat(sent, **settings)


class Sampled(NamedTuple):
    """Counts of a file of completions.

    Attributes:
        prompts: Rows.
        completions: Completions of all.
        ended: Those that ended by themselves.
        before: Rows that were there before.
    """

    prompts: int
    completions: int
    ended: int
    before: int


def sample_file(sampler: Sampler, asked: Sequence[Asked], out: Path, place: str = "generate --out") -> Sampled:
    """Write completions of prompts into a file; where it was begun before, behind the last whole row.

    Args:
        sampler: What writes the completions.
        asked: The prompts.
        out: The file: rows with `prompt`, `completions`, `ended`, `model` and the other columns of the prompts.
        place: Text that names the argument, in an error.

    Raises:
        InputError: for a file that is there and was made of something else, and what cannot be sampled; rows that are
            there stay.
    """
    from tqdm import tqdm

    with kept_rows(out, {"command": "generate", **sampler.made(asked)}, place) as kept:
        before = kept.done
        bar = tqdm(total=len(asked), initial=before, desc="generating", unit="prompt", disable=not sys.stderr.isatty())
        with bar:
            for rows in () if kept.whole else sampler.candidates(asked, before):
                kept.add([each.row() for each in rows])
                bar.update(len(rows))
    ended = [row["ended"] for row in map(json.loads, out.read_text(encoding="utf-8").split("\n")[:-1])]
    return Sampled(len(ended), sum(map(len, ended)), sum(map(sum, ended)), before)


def own_seed(seed: int, number: int) -> int:
    """Return the seed of one of many parts, from 0 to 2³² - 1."""
    return int(np.random.SeedSequence((seed, number)).generate_state(1)[0])


def _ended(row: Candidates) -> list[str]:
    return [text for text, ended in zip(row.completions, row.ended or (), strict=True) if ended]


def _check_sent(asked: Asked, number: int) -> None:
    place = f"generate, prompt {number} (from 0)"
    if asked.tools or asked.template_arguments:
        raise InputError(
            f"{place}: tools and arguments of a template are not sent to a server: generate from the model"
        )
    if continues(asked.prompt):
        raise InputError(
            f"{place}: it ends with the beginning of an answer, which servers go on with or pass over: generate from "
            "the model itself, or write it as a text, with --plain"
        )


def _digest(*values: Any) -> str:
    return blake2b(json.dumps(values, sort_keys=True).encode(), digest_size=16).hexdigest()
