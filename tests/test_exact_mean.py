"""The gradient of an optimizer step is that of the mean over its pairs, whatever they are spread over."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from datasets import Dataset
from lightning.pytorch.callbacks import GradientAccumulationScheduler, ModelCheckpoint
from torch import Tensor
from torch.optim import SGD

from dpo_lightning import DPO, PreferenceDataModule, PreferenceModule
from dpo_lightning.batch import collate_padded
from tests.helpers.runs import trainer
from tests.helpers.tiny import tiny_llama, tiny_tokenizer

PAIRS, LR = 22, 0.1
ROWS = [
    {"prompt": f"{'ab' * (n % 5)}{n}:", "chosen": " yes" + "s" * (n % 7), "rejected": " no" + "o" * (n % 3)}
    for n in range(PAIRS)
]


def data(**settings: Any) -> PreferenceDataModule:
    return PreferenceDataModule(Dataset.from_list(ROWS), tiny_tokenizer(), **settings)


def module() -> PreferenceModule:
    return PreferenceModule(tiny_llama(), DPO(beta=0.5), optimizer=lambda params: SGD(params, lr=LR))


class Windows(pl.Callback):
    """The pairs of every optimizer step."""

    def __init__(self) -> None:
        self.seen: list[list[int]] = []
        self.batches: list[int] = []
        self._window: list[int] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self._window += batch.row_ids.tolist()
        self.batches.append(batch.examples)

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self.seen.append(self._window)
        self._window = []


def fit(source: PreferenceDataModule, ckpt_path: str | None = None, **settings: Any) -> tuple[Tensor, Windows]:
    """The parameters after the run, and what its steps were made of."""
    windows, learner = Windows(), module()
    callbacks = [windows, *settings.pop("callbacks", [])]
    run = trainer(**{"max_epochs": 1, "max_steps": -1, "precision": "64-true", "callbacks": callbacks, **settings})
    run.fit(learner, datamodule=source, ckpt_path=ckpt_path)
    return parameters(learner), windows


def parameters(learner: PreferenceModule) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in learner.parameters()])


def by_hand(windows: list[list[int]]) -> Tensor:
    """One padded batch and one plain mean for each step."""
    source, learner = data(), module()
    source.setup()
    learner.trainer = trainer(precision="64-true")
    learner.configure_model()
    pairs = {pair.row: pair for pair in source.train_dataloader().batches.dataset}
    optimizer = SGD(learner.parameters(), lr=LR)
    for window in windows:
        optimizer.zero_grad()
        learner.objective(learner.score(collate_padded([pairs[number] for number in window]))).mean().backward()
        optimizer.step()
    return parameters(learner)


def assert_equal(found: Tensor, expected: Tensor) -> None:
    """To what the float32 inside the model's norms leaves of float64: a step moves weights by up to 1e-1."""
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-7)


TOKENS = {"batch_tokens": 100, "layout": "tree"}
PADDED = {"layout": "padded"}


@pytest.mark.parametrize(
    ("settings", "accumulate", "batches"),
    [
        ({"batch_pairs": PAIRS, **PADDED}, 1, [22]),
        ({"batch_pairs": 6, **PADDED}, 4, [6, 6, 5, 5]),
        ({"batch_pairs": 6, "layout": "tree"}, 4, [6, 6, 5, 5]),
        # One window, which the end of the epoch cuts short.
        ({"batch_pairs": 6, **PADDED}, 7, [6, 6, 5, 5]),
        (TOKENS, 99, None),
    ],
    ids=str,
)
def test_one_step_over_the_same_pairs_is_one_step(settings, accumulate, batches):
    found, windows = fit(data(**settings), accumulate_grad_batches=accumulate)
    assert [sorted(window) for window in windows.seen] == [list(range(PAIRS))]
    if batches is not None:
        assert sorted(windows.batches, reverse=True) == batches
    else:
        assert len(windows.batches) >= 4
        assert len(set(windows.batches)) > 1
    assert_equal(found, by_hand(windows.seen))


@pytest.mark.parametrize("settings", [{"batch_pairs": 4}, {**TOKENS, "batch_tokens": 60}], ids=str)
@pytest.mark.parametrize(
    "limits",
    [
        {"accumulate_grad_batches": 4, "max_epochs": 2},
        {"accumulate_grad_batches": 3, "limit_train_batches": 5},
        {"accumulate_grad_batches": 2, "limit_train_batches": 0.5},
        {"accumulate_grad_batches": 2, "max_steps": 2},
        {"accumulate_grad_batches": 4, "overfit_batches": 3, "max_epochs": 2},
        {"accumulate_grad_batches": 4, "fast_dev_run": 3},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:You requested to overfit")
def test_windows_of_every_kind(settings, limits):
    found, windows = fit(data(**settings), **limits)
    assert len(windows.seen) >= 1
    assert_equal(found, by_hand(windows.seen))


def test_the_windows_change_with_the_epoch():
    schedule = GradientAccumulationScheduler({0: 4, 1: 2})
    found, windows = fit(data(batch_pairs=5), callbacks=[schedule], max_epochs=2)
    assert len(windows.seen) == 2 + 3  # five batches an epoch
    assert_equal(found, by_hand(windows.seen))


@pytest.mark.parametrize("settings", [{"batch_pairs": 4}, {**TOKENS, "batch_tokens": 60}], ids=str)
def test_a_resumed_run_keeps_its_windows(tmp_path, settings):
    limits = {"max_epochs": 2, "accumulate_grad_batches": 4}
    saving = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
    whole, windows = fit(data(**settings), callbacks=[saving], enable_checkpointing=True, **limits)
    for step in (1, 3):
        rest, later = fit(data(**settings), str(tmp_path / f"step={step}.ckpt"), **limits)
        assert later.seen == windows.seen[step:]
        assert torch.equal(rest, whole)


def test_a_batch_of_another_loader_counts_as_a_mean():
    source, learner = data(batch_pairs=6, **PADDED), module()
    source.setup()
    learner.configure_model()
    batch = next(iter(source.train_dataloader()))
    own = learner.training_step(batch, 0).item()
    assert batch.example_weight == 1 / batch.examples
    assert learner.training_step(batch._replace(example_weight=None), 0).item() == pytest.approx(own, rel=1e-6)
    doubled = batch._replace(example_weight=2 / batch.examples)
    assert learner.training_step(doubled, 0).item() == pytest.approx(2 * own, rel=1e-6)
