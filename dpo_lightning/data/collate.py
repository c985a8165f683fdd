"""Tokenised pairs -> a batch. The only place that shifts: token t is predicted at position t - 1."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from dpo_lightning.batch import PairBatch, TokenizedPair

# Any id will do: nothing before a row's end attends to what stands behind it, in any causal model.
_PADDING = 0


def collate_padded(pairs: Sequence[TokenizedPair]) -> PairBatch:
    """Right-padded rows ``[2P, L]``, chosen first: right for every causal architecture, recurrent ones included.

    No attention mask goes with it, since padding stands behind every real token of its row; so attention keeps its
    fast causal kernels.
    """
    rows = [(pair.prompt_ids, pair.chosen_ids) for pair in pairs] + [(p.prompt_ids, p.rejected_ids) for p in pairs]
    width = max(len(prompt) + len(completion) for prompt, completion in rows)
    input_ids = torch.full((len(rows), width), _PADDING)
    predict_index: list[int] = []
    sequence_id: list[int] = []
    targets: list[int] = []
    for number, (prompt, completion) in enumerate(rows):
        input_ids[number, : len(prompt) + len(completion)] = torch.tensor(prompt + completion)
        first = number * width + len(prompt) - 1
        predict_index += range(first, first + len(completion))
        sequence_id += [number] * len(completion)
        targets += completion
    return PairBatch(
        input_ids=input_ids,
        predict_index=torch.tensor(predict_index),
        targets=torch.tensor(targets),
        sequence_id=torch.tensor(sequence_id),
        lengths=torch.tensor([len(completion) for _, completion in rows]),
        pair_ids=torch.tensor([pair.pair_id for pair in pairs]),
    )
