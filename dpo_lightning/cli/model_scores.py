"""Log-probs of a sample of examples under a model, for the doctor."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import numpy as np
import torch

from dpo_lightning import TokenizedExample, TokenScorer
from dpo_lightning.data.inspect import Seen
from dpo_lightning.data.inspect.scores import ModelScores, ScoredExample
from dpo_lightning.policy.prepare import PolicyOptions, build_policy
from dpo_lightning.reference.cache.scorer import Scorer
from dpo_lightning.reference.cache.scoring_run import ScoringRun

_BATCH = 8


def model_scores(
    model: str, options: PolicyOptions, examples: Sequence[Seen], count: int, *, seed: int = 0, progress: bool = False
) -> ModelScores:
    """Score a random sample of examples, in float32 on a CPU, in bfloat16 on a GPU where there is one.

    Args:
        model: Name or directory.
        options: How it is loaded.
        examples: Those to take the sample from.
        count: Its size.
        seed: Seed of the sample.
        progress: Whether to show a bar.

    Raises:
        InputError: for a model that cannot be loaded.
        RunError: for a log-prob that is no finite number.
    """
    on_gpu = torch.cuda.is_available()
    policy = build_policy(model, torch.bfloat16 if on_gpu else torch.float32, options).eval()
    policy.to("cuda" if on_gpu else "cpu")
    score = TokenScorer(policy)
    scorer = Scorer(policy, lambda batch: score(batch).logps, nullcontext)
    chosen = np.sort(np.random.default_rng(seed).permutation(len(examples))[:count]).tolist()
    sample = [examples[place] for place in chosen]
    scored: list[ScoredExample] = []
    with ScoringRun(progress=progress).bar(f"scoring under {model}", len(sample)) as advance:
        for start in range(0, len(sample), _BATCH):
            batch = sample[start : start + _BATCH]
            values = scorer([_tokenized(each) for each in batch])
            scored += [ScoredExample(each, _sums(each, row)) for each, row in zip(batch, values, strict=True)]
            advance(len(batch))
    return ModelScores(model, scored)


def _tokenized(seen: Seen) -> TokenizedExample:
    completions = [ids.tolist() for ids in seen.completion_ids]
    masks = [mask.tolist() for mask in seen.scored]
    return TokenizedExample(seen.row, seen.prompt_ids.tolist(), completions, labels=seen.labels, scored=masks)


def _sums(seen: Seen, logps: np.ndarray) -> list[float]:
    ends = np.cumsum([int(each.sum()) for each in seen.counts])[:-1]
    return [float(part.sum(dtype=np.float64)) for part in np.split(logps, ends)]
