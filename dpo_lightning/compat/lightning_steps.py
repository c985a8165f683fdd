"""Lightning's place in the training, as its loggers are told it, and in epochs."""

from __future__ import annotations

import math

import lightning.pytorch as pl


def logged_step(trainer: pl.Trainer) -> int:
    """Return the step under which Lightning would have logged the last optimizer step that is done.

    Touches `_TrainingEpochLoop._batches_that_stepped`, the number that Lightning gives to loggers and counts up behind
    every step: a batch in which two optimizers step is one. Nothing public has it.
    """
    return trainer.fit_loop.epoch_loop._batches_that_stepped - 1


def epochs_begun(trainer: pl.Trainer) -> float | None:
    """Return the epochs of the run up to the batch that is under way, with their fraction.

    None where nobody knows how many batches an epoch has, as of a stream.
    """
    whole = trainer.num_training_batches
    if math.isinf(whole) or not whole:
        return None
    return trainer.current_epoch + trainer.fit_loop.epoch_loop.batch_progress.current.ready / whole
