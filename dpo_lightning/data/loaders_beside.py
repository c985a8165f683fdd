"""Loaders beside that of the preference pairs, in a `CombinedLoader`, when a run goes on in the middle of an epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import lightning.pytorch as pl
from lightning.fabric.utilities.data import sized_len
from torch.utils.data import DataLoader, IterableDataset, SequentialSampler

from dpo_lightning.compat.lightning_loops import Fetching, fetching_of, with_training_loaders
from dpo_lightning.data.loader import OwnLoader
from dpo_lightning.errors import InputError


class ResumedLoader:
    """A loader whose first iteration leaves out what was done, and begins at the first `next`.

    Batches that are left out are loaded, once.

    Args:
        loader: A loader with the same order in each iteration of an epoch.
        done: How many of its batches are done; None for all.
    """

    def __init__(self, loader: Any, done: int | None) -> None:
        self.loader = loader
        self.sampler, self.batch_sampler = _attribute(loader, "sampler"), _attribute(loader, "batch_sampler")
        self._done: int | None = done

    def __len__(self) -> int:
        """Batches of an epoch."""
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        """Iterate over the rest; the next time, over everything."""
        done, self._done = self._done, 0
        if done is None:
            return
        for number, batch in enumerate(self.loader):
            if number >= done:
                yield batch

    def state_dict(self) -> dict[str, Any]:
        """Return nothing; having this tells Lightning that resuming is safe."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load nothing."""


def _attribute(loader: Any, name: str) -> Any:
    return getattr(loader, name, None)  # any iterable is a loader to Lightning


def resume_loaders(trainer: pl.Trainer) -> Callable[[], None]:
    """Let every training loader of a restored fit go on where it was.

    A `OwnLoader` does so by itself, one with a state gets it from the checkpoint, and of one whose order is the same
    in each iteration of an epoch the batches that are done are left out.

    Args:
        trainer: In `on_train_start`.

    Returns:
        A function to call at the first batch, or the next epoch's start, after which the Trainer has its own again.

    Raises:
        InputError: for another one beside any other, in the middle of an epoch.
    """
    return with_training_loaders(trainer, _going_on)


def _going_on(fetching: Fetching) -> list[Any]:
    loaders = fetching.loaders
    own = [each.progress() for each in loaders if isinstance(each, OwnLoader) and each.progress is not None]
    if any(progress.done >= progress.batches for progress in own):
        return [each if isinstance(each, OwnLoader) else ResumedLoader(each, None) for each in loaders]
    if fetching.asked and len(loaders) > 1:
        _refuse_others(loaders)
    return [
        each if _goes_on_by_itself(each) or not _is_repeatable(each) else ResumedLoader(each, done)
        for each, done in zip(loaders, _done(fetching), strict=True)
    ]


def _done(fetching: Fetching) -> list[int]:
    """Return how many batches each loader has given since it last began."""
    lengths = [sized_len(each) for each in fetching.loaders]
    if fetching.cycled:
        return [fetching.asked % length if length else fetching.asked for length in lengths]
    return [fetching.asked if length is None else min(fetching.asked, length) for length in lengths]


def check_resumed(trainer: pl.Trainer | None) -> None:
    """Refuse to go on in the middle of an epoch where nobody has made the other loaders go on.

    Raises:
        InputError: for the first one that would begin anew.
    """
    fetching = None if trainer is None else fetching_of(trainer)
    if fetching is not None and len(fetching.loaders) > 1:
        _refuse_others([each for each in fetching.loaders if not isinstance(each, ResumedLoader)], prepared=True)


def _refuse_others(loaders: Sequence[Any], *, prepared: bool = False) -> None:
    for each in loaders:
        if not _goes_on_by_itself(each) and (prepared or not _is_repeatable(each)):
            raise InputError(
                f"the checkpoint is of the middle of an epoch, and the {type(each).__name__} beside the preference "
                "pairs cannot go on there: make it with PreferenceDataModule.loader_beside, give it no shuffle or a "
                "sampler with set_epoch (and the run ExactResume), or leave the rest of the epoch out with "
                "data.resume=next_epoch"
            )


def have_states(trainer: pl.Trainer) -> bool:
    """Return whether a training loader of another kind than `OwnLoader` got its state from a checkpoint."""
    fetching = fetching_of(trainer)
    loaders = [] if fetching is None else fetching.loaders
    return any(_goes_on_by_itself(each) and not isinstance(each, OwnLoader) for each in loaders)


def _goes_on_by_itself(loader: Any) -> bool:
    return isinstance(loader, OwnLoader) or (hasattr(loader, "state_dict") and hasattr(loader, "load_state_dict"))


def _is_repeatable(loader: Any) -> bool:
    """Return whether a loader has the same order in each iteration of an epoch, in another process too."""
    if isinstance(loader, list | tuple):
        return True
    if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset):
        return False
    sampler = getattr(loader.batch_sampler, "sampler", loader.sampler)  # any sampler can stand there
    return isinstance(sampler, SequentialSampler) or hasattr(sampler, "set_epoch")
