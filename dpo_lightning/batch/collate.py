"""Tokenised pairs -> a batch. The only place that shifts: token t is predicted at position t - 1."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate

import torch

from dpo_lightning.batch.types import PairBatch, PairColumns, TokenizedPair, TreeLayout
from dpo_lightning.errors import InputError

# Any id will do: nothing before a row's end attends to what stands behind it, in any causal model.
_PADDING = 0

Collate = Callable[[Sequence[TokenizedPair]], PairBatch]


def collate_padded(pairs: Sequence[TokenizedPair]) -> PairBatch:
    """Right-padded rows ``[R, L]``, chosen first: right for every causal architecture, recurrent ones included.

    A completion without tokens has no row. No attention mask goes with it, since padding stands behind every real token
    of its row; so attention keeps its fast causal kernels.
    """
    both = [(pair.prompt_ids, pair.chosen_ids) for pair in pairs] + [(p.prompt_ids, p.rejected_ids) for p in pairs]
    rows = [(prompt, completion) for prompt, completion in both if completion]
    width = max(len(prompt) + len(completion) for prompt, completion in rows)
    input_ids = torch.full((len(rows), width), _PADDING)
    predictors = []
    for number, (prompt, completion) in enumerate(rows):
        input_ids[number, : len(prompt) + len(completion)] = torch.tensor(prompt + completion)
        first = number * width + len(prompt) - 1
        predictors.append(range(first, first + len(completion)))
    return _batch(pairs, input_ids, predictors)


def collate_tree(pairs: Sequence[TokenizedPair]) -> PairBatch:
    """One packed row ``[1, L]``, prompt, chosen, rejected of each pair: every token once, and no padding.

    The first token of both completions is predicted at the prompt's last position. A completion may have no tokens.
    """
    segments = tuple((len(pair.prompt_ids), len(pair.chosen_ids), len(pair.rejected_ids)) for pair in pairs)
    row: list[int] = []
    positions: list[int] = []
    keys: list[int] = []
    chosen_predictors: list[Sequence[int]] = []
    rejected_predictors: list[Sequence[int]] = []
    for pair, (prompt, chosen, rejected) in zip(pairs, segments, strict=True):
        start = len(row)
        end_of_prompt, end_of_chosen, end = start + prompt, start + prompt + chosen, start + prompt + chosen + rejected
        row += [*pair.prompt_ids, *pair.chosen_ids, *pair.rejected_ids]
        positions += [*range(prompt + chosen), *range(prompt, prompt + rejected)]
        keys += range(start, end_of_chosen)
        if rejected:
            keys += [*range(start, end_of_prompt), *range(end_of_chosen, end)]
        chosen_predictors.append(range(end_of_prompt - 1, end_of_chosen - 1))
        rejected_predictors.append([end_of_prompt - 1, *range(end_of_chosen, end - 1)][:rejected])
    tree = TreeLayout(
        segments=segments,
        position_ids=torch.tensor([positions]),
        key_index=torch.tensor(keys),
        query_offsets=_offsets([run for p, c, r in segments for run in (p + c, r) if run]),
        key_offsets=_offsets([run for p, c, r in segments for run in ((p + c, p + r) if r else (p + c,))]),
    )
    return _batch(pairs, torch.tensor([row]), chosen_predictors + rejected_predictors)._replace(tree=tree)


def _batch(pairs: Sequence[TokenizedPair], input_ids: torch.Tensor, predictors: Sequence[Sequence[int]]) -> PairBatch:
    """The scored-token view, from the flat positions at which each completion, chosen first, is predicted."""
    completions = [pair.chosen_ids for pair in pairs] + [pair.rejected_ids for pair in pairs]
    lengths = torch.tensor([len(completion) for completion in completions])
    return PairBatch(
        input_ids=input_ids,
        predict_index=torch.tensor([position for positions in predictors for position in positions]),
        targets=torch.tensor([token for completion in completions for token in completion]),
        sequence_id=torch.arange(len(completions)).repeat_interleave(lengths),
        lengths=lengths,
        pair_ids=torch.tensor([pair.pair_id for pair in pairs]),
        columns=PairColumns(*(_bits(pairs, name) for name in PairColumns._fields)),
        desirable=_labels(pairs),
    )


def _labels(pairs: Sequence[TokenizedPair]) -> torch.Tensor | None:
    labels = [pair.desirable for pair in pairs if pair.desirable is not None]
    if labels and len(labels) < len(pairs):
        raise InputError("some rows of the batch have a label, others none")
    return torch.tensor(labels) if labels else None


def _bits(pairs: Sequence[TokenizedPair], name: str) -> torch.Tensor | None:
    """A column's values as the bits of float32, where every pair has one."""
    values = [getattr(pair, name) for pair in pairs]
    return None if None in values else torch.tensor(values, dtype=torch.float32).view(torch.int32)


def _offsets(lengths: Sequence[int]) -> torch.Tensor:
    return torch.tensor([0, *accumulate(lengths)], dtype=torch.int32)
