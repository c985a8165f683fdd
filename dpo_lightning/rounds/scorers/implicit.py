"""Scores by the implicit reward of a run: beta x log-ratio of its policy and its reference, arXiv:2305.18290."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
import yaml  # type: ignore[import-untyped]
from jaxtyping import Float
from torch import Tensor

from dpo_lightning.batch import TokenizedExample
from dpo_lightning.data.formats import Example
from dpo_lightning.data.formats.pairs import PairFormat, Side
from dpo_lightning.data.tokenize import ExampleTokenizer
from dpo_lightning.errors import InputError
from dpo_lightning.losses import AnyObjective, Compares
from dpo_lightning.losses.scores import ListScores, PairScores, TokenScores, UnpairedScores
from dpo_lightning.losses.undeclared import with_inputs
from dpo_lightning.rounds.candidates import Candidates
from dpo_lightning.rounds.kept_rows import content_of
from dpo_lightning.rounds.saved_policy import run_settings, run_tokenizer, template_date_of
from dpo_lightning.rounds.scorers.base import NoScoreError, Scorer
from dpo_lightning.rounds.scorers.compared import Asked, Compared, TokenRatios, compared
from dpo_lightning.rounds.scorers.content import made_of_model
from dpo_lightning.utils.settings import POSITIVE, check_rules

_NO_LIMIT = 2**31
_OF_TOKENS = ("scored", "eos")


@dataclass(frozen=True)
class EachCompletion(PairFormat):
    """All completions of a row in their order, read as those of pairs are, whatever they are worth."""

    def sides(self, row: Mapping[str, Any]) -> Iterable[tuple[Side, Side]]:
        """Return each completion beside the first."""
        sides = [Side(f"completions[{k}]", text, k) for k, text in enumerate(row["completions"])]
        return [(sides[0], each) for each in sides]

    def whole(self, row: Candidates, completions: Sequence[str], tokens: ExampleTokenizer) -> Example:
        """Return some completions of a row as one example."""
        pairs = self.examples({**row.beside, "prompt": row.prompt, "completions": [*completions]}, tokens.quote)
        return pairs[0]._replace(completions=[pair.completions[1] for pair in pairs])


class _Part(NamedTuple):
    """An example with some completions of a row."""

    row: int
    places: list[int]
    example: TokenizedExample


class ImplicitReward(Scorer):
    """Scores by what `predict` of the run would say, in the objective's own scale.

    A text is continued as it is, and messages are written by the chat template, as training reads them. A completion
    that was cut ends without an EOS.

    Args:
        asked: The policy, and what it is compared with.
        config: The run's config: policy, tokenizer, chat template, and which tokens count.
        command: Name of the command, in an error.
    """

    at_once: ClassVar[int] = 4

    def __init__(self, asked: Asked, config: Path | None, command: str) -> None:
        self._asked, self._config, self._command = asked, config, command
        self._settings = run_settings(config, command)
        self._of_tokens = _token_settings(config)
        self._stack = ExitStack()
        self._loaded: tuple[Compared, Any] | None = None

    @property
    def made(self) -> Mapping[str, Any]:
        """The content of the policy, the reference and the config, and the factor."""
        asked = self._asked
        found: dict[str, Any] = {**made_of_model("run", asked.run), "beta": asked.beta, "dtype": asked.dtype}
        if asked.reference is not None:
            found |= made_of_model("reference", asked.reference)
        if self._config is not None:
            found["config"] = content_of(self._config, f"{self._command} --config")
        return found

    @property
    def continues_texts(self) -> bool:
        """True where the tokenizer has a chat template: texts are read as training reads them, as they are."""
        return bool(self._tokenizer.chat_template)

    def score(self, rows: Sequence[Candidates]) -> list[list[float]]:
        """Return the implicit reward of each completion.

        Raises:
            NoScoreError: for a row that cannot be written as tokens, or is longer than the model reads.
            InputError: for a run that cannot be loaded.
        """
        found = self.token_ratios(rows)
        flat = [each for row in found for each in row]
        rewards = iter(rewards_of(self._models.objective, flat, has_reference=self._models.has_reference).tolist())
        return [[next(rewards) for _ in row] for row in found]

    def token_ratios(self, rows: Sequence[Candidates]) -> list[list[TokenRatios]]:
        """Return the log-probs of each completion's tokens under policy and reference, for credit token by token.

        Raises:
            NoScoreError: as `score`.
        """
        models = self._models
        parts = [part for number, row in enumerate(rows) for part in self._parts(row, number)]
        found: list[list[Any]] = [[None] * len(row.completions) for row in rows]
        for part, ratios in zip(parts, models.token_ratios([each.example for each in parts]), strict=True):
            for place, each in zip(part.places, ratios, strict=True):
                if not np.isfinite(each.policy).all() or not np.isfinite(each.reference).all():
                    raise NoScoreError("a log-prob of its tokens is no finite number", part.row, place)
                found[part.row][place] = each
        return found

    def close(self) -> None:
        """Remove what was unpacked of a sharded checkpoint, and let go of the models."""
        self._loaded = None
        self._stack.close()

    def _parts(self, row: Candidates, number: int) -> Iterator[_Part]:
        """Yield the completions that ended, and those that were cut, of which the last have no EOS."""
        ended = row.ended or [True] * len(row.completions)
        for is_ended in (True, False):
            if places := [place for place, each in enumerate(ended) if each == is_ended]:
                yield _Part(number, places, self._tokenized(row, places, number, is_ended=is_ended))

    def _tokenized(self, row: Candidates, places: list[int], number: int, *, is_ended: bool) -> TokenizedExample:
        settings = {**self._of_tokens, **({} if is_ended else {"eos": "never"})}
        tokens = ExampleTokenizer(self._tokenizer, _NO_LIMIT, **settings)
        try:
            example = EachCompletion().whole(row, [row.completions[place] for place in places], tokens)
            encoded = tokens(example).example
        except InputError as error:
            raise NoScoreError(str(error), number) from error
        limit = self._models.limit or _NO_LIMIT
        for place, ids in zip(places, encoded.completion_ids, strict=True):
            if not ids:
                raise NoScoreError("it has no token", number, place)
            if (length := len(encoded.prompt_ids) + len(ids)) > limit:
                raise NoScoreError(f"{length} tokens with its prompt, and the model reads {limit}", number, place)
        if not encoded.prompt_ids:
            raise NoScoreError("the prompt has no token", number)
        return encoded

    @property
    def _models(self) -> Compared:
        return self._load()[0]

    @property
    def _tokenizer(self) -> Any:
        return self._load()[1]

    def _load(self) -> tuple[Compared, Any]:
        if self._loaded is None:
            models = self._stack.enter_context(compared(self._asked, self._settings, self._command))
            tokenizer = run_tokenizer(self._settings["data"], models.name)
            if tokenizer is None:
                raise InputError(f"{self._command}: no tokenizer beside the model: give the run's config as --config")
            self._loaded = models, tokenizer
        return self._loaded


def rewards_of(
    objective: AnyObjective, completions: Sequence[TokenRatios], *, has_reference: bool = True
) -> Float[Tensor, " C"]:
    """Return the implicit rewards of completions in an objective's own scale, as `predict` does.

    Args:
        objective: The objective of the run.
        completions: Log-probs of their tokens.
        has_reference: Whether it compares with a reference.

    Raises:
        InputError: where its rewards read more than log-probs.
    """
    policy, reference = (
        torch.from_numpy(np.concatenate([getattr(each, name) for each in completions]))
        for name in ("policy", "reference")
    )
    lengths = torch.tensor([len(each.ids) for each in completions])
    count = len(completions)
    reference = reference if has_reference else torch.full_like(policy, torch.nan)
    tokens = TokenScores(policy, reference, torch.arange(count).repeat_interleave(lengths), lengths)
    read: Any = objective
    if objective.compares is Compares.LABELLED:
        labels = torch.ones(count, dtype=torch.bool)
        found: Tensor = with_inputs(read.rewards, UnpairedScores.from_tokens(tokens, labels, mismatched=False))
    elif objective.compares is Compares.LISTS:
        found = with_inputs(
            read.rewards, ListScores.from_tokens(tokens, torch.zeros(count, dtype=torch.long), (count,))
        )
    else:  # each is both completions of a pair
        found = with_inputs(read.rewards, PairScores.from_tokens(_twice(tokens)))[0]
    return found


def _twice(tokens: TokenScores) -> TokenScores:
    count = len(tokens.lengths)
    return TokenScores(
        tokens.policy_logps.repeat(2),
        tokens.reference_logps.repeat(2),
        torch.cat([tokens.sequence_id, tokens.sequence_id + count]),
        tokens.lengths.repeat(2),
    )


def _token_settings(config: Path | None) -> dict[str, Any]:
    """Return what a config says of the tokens beside its template."""
    if config is None:
        return {}
    data = (yaml.safe_load(config.read_text(encoding="utf-8")) or {}).get("data") or {}
    data = data.get("init_args") or {} if "class_path" in data else data
    found = {name: data[name] for name in _OF_TOKENS if data.get(name) is not None}
    return {**found, "template_date": template_date_of(data)}


def scorer(options: Namespace, command: str) -> Scorer:
    """Return the scorer of the run that the options name; its models are loaded when they are first needed.

    Raises:
        InputError: for a config that cannot be read, and a beta that is none.
    """
    check_rules(f"{command} --", options, beta=POSITIVE)
    asked = Asked(options.run, options.reference, options.beta, options.device, options.dtype)
    return ImplicitReward(asked, options.config, command)
