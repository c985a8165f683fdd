"""Sampling within a run: on all of its ranks, in its precision, with its progress bar."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import TQDMProgressBar
from torch import nn

from dpo_lightning.callbacks.progress_line import ProgressLine
from dpo_lightning.policy.sampling import Advance, Sampling, prompt_batches, sample_batches, steps_of
from dpo_lightning.policy.sharding import is_sharded
from dpo_lightning.utils.ranks import from_all_ranks, number_of_ranks, this_rank
from dpo_lightning.utils.text import one_line


class SamplingError(Exception):
    """Says that the model, or its device, has failed in a forward: there are no samples."""


def sample_over_ranks(
    trainer: pl.Trainer,
    model: nn.Module,
    prompts: Sequence[Sequence[int]],
    eos_token_id: int | None,
    sampling: Sampling,
    what: str,
) -> list[list[list[int]]]:
    """Sample completions of each prompt as token ids, the same on every rank; every rank must call.

    Ranks that hold the model whole share the batches, so that none waits long for another. Of a sharded model all ranks
    take part in each forward. The samples are those of a single process.

    Args:
        trainer: The Trainer, whose precision and progress bar are used.
        model: The model.
        prompts: Token ids of the prompts.
        eos_token_id: The tokenizer's EOS.
        sampling: How to sample.
        what: Words for the progress bar.

    Raises:
        MemoryError: where a rank has no memory for it, on all ranks; of a sharded model, on that one.
        SamplingError: where the model of a rank fails otherwise, on all ranks; of a sharded model, its own error.
    """
    batches = prompt_batches(prompts, sampling)
    together = is_sharded(model)
    own = batches if together else batches[this_rank() :: number_of_ranks()]
    found: dict[int, list[list[int]]] = {}
    failure: Exception | None = None
    with _shown(trainer, what, steps_of(own, sampling)) as advance:
        try:
            with trainer.precision_plugin.forward_context():
                found = sample_batches(model, prompts, own, eos_token_id, sampling, advance)
        except (RuntimeError, MemoryError) as error:
            if together:
                raise
            is_memory = isinstance(error, torch.OutOfMemoryError | MemoryError)
            failure = (MemoryError if is_memory else SamplingError)(one_line(error, 120))
    parts = [(found, failure)] if together else from_all_ranks((found, failure))
    if failures := [each for _, each in parts if each is not None]:
        raise failures[0]
    whole = {place: completions for part, _ in parts for place, completions in part.items()}
    return [whole[place] for place in range(len(prompts))]


@contextmanager
def _shown(trainer: pl.Trainer, what: str, steps: int) -> Iterator[Advance]:
    bar = trainer.progress_bar_callback
    if not isinstance(bar, ProgressLine):
        yield lambda count: None
        return
    with bar.working(what, steps) as advance:
        yield advance


def printer_of(trainer: pl.Trainer) -> Callable[[str], Any]:
    """Return what prints beside the progress bar that the run has: tqdm's stands where `print` would write."""
    if isinstance(trainer.progress_bar_callback, TQDMProgressBar):
        from tqdm import tqdm

        return tqdm.write
    return print
