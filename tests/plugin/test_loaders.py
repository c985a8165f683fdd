"""Loaders of one's own, beside ours and in the place of ours."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import BasePredictionWriter, ModelCheckpoint
from lightning.pytorch.utilities import CombinedLoader
from torch.utils.data import DataLoader, IterableDataset

from dpo_lightning import PreferenceBatch, PreferenceDataModule, PreferenceModule
from dpo_lightning.batch import collate_padded
from dpo_lightning.errors import InputError
from tests.helpers.runs import Losses, data, module, trainer, write_rows
from tests.helpers.tiny import PAIRS, tiny_llama, tiny_tokenizer

TEXTS = [torch.tensor([1, 5 + i % 7, 9, 2]) for i in range(40)]


class WithText(PreferenceModule):
    """DPO and the likelihood of other texts; keeps what it sees."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(tiny_llama(), **settings)
        self.seen: list[tuple[Any, Any]] = []

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        pairs, texts = batch["pairs"], batch["texts"]
        self.seen.append((pairs and pairs.row_ids.tolist(), None if texts is None else texts[:, 1].tolist()))
        loss = 0 if pairs is None else super().training_step(pairs, batch_idx)
        return loss if texts is None else loss + 0.1 * self.policy(input_ids=texts, labels=texts).loss


class Beside(PreferenceDataModule):
    """Pairs, and texts of another loader, in a mode of `CombinedLoader`."""

    def __init__(self, path: Path, mode: str, *, own: bool = True, texts: int = 40, first: str = "pairs", **rest: Any):
        rows = write_rows(path / "pairs.jsonl", 16)
        super().__init__(rows, tiny_tokenizer(), batch_pairs=4, **rest)
        self.mode, self.own, self.texts, self.first = mode, own, TEXTS[:texts], first

    def train_dataloader(self) -> Any:
        pairs = super().train_dataloader()
        texts = self.loader_beside(self.texts, 2) if self.own else DataLoader(self.texts, 2)
        loaders = {"pairs": pairs, "texts": texts}
        return CombinedLoader({name: loaders[name] for name in sorted(loaders, key=self.first.__ne__)}, self.mode)


MODES = {"min_size": 4, "max_size": 20, "max_size_cycle": 20}


@pytest.mark.parametrize(("mode", "steps"), MODES.items())
@pytest.mark.parametrize("workers", [0, 2])
def test_combined_loader_in_each_mode(run, tmp_path, mode, steps, workers):
    fitted = run(module=WithText(), data=Beside(tmp_path, mode, num_workers=workers))
    assert fitted.trainer.global_step == 2 * steps
    first = [pairs for pairs, _ in fitted.module.seen[:steps]]
    for begin in range(0, steps, 4):
        cycle = first[begin : begin + 4]
        expected = sorted(range(16)) if mode == "max_size_cycle" or not begin else []
        assert sorted(pair for pairs in cycle for pair in pairs or []) == expected


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("own", [True, False], ids=["loader_beside", "DataLoader"])
@pytest.mark.parametrize("first", ["pairs", "texts"])
def test_a_resumed_combined_loader_goes_on_where_every_loader_was(run, tmp_path, mode, own, first):
    steps = min(MODES[mode], 10)  # of an epoch: two passes over the pairs and a half

    def source() -> Beside:
        return Beside(tmp_path, mode, own=own, first=first, texts=2 * steps)

    def part(**settings: Any) -> list[Any]:
        fitted = run(module=WithText(), data=source(), max_epochs=2, **settings)
        return [fitted.module.seen, fitted.losses]

    every = ModelCheckpoint(tmp_path / "kept", "{step}", every_n_train_steps=1, save_top_k=-1)
    seen, losses = part()
    assert len(losses) == 2 * steps
    fitted = run(every, module=WithText(), data=source(), enable_checkpointing=True)
    assert fitted.losses == losses
    for step in (2, steps - 1, steps, steps + 3):
        assert part(ckpt_path=tmp_path / f"kept/step={step}.ckpt") == [seen[step:], losses[step:]], step


@pytest.mark.parametrize("mode", ["max_size", "max_size_cycle"])
def test_a_shuffled_loader_beside_ours_is_refused_in_the_middle_of_an_epoch(run, tmp_path, mode):
    class Shuffled(Beside):
        def train_dataloader(self) -> Any:
            shuffled = DataLoader(self.texts, 2, shuffle=True)
            return CombinedLoader({"pairs": super().train_dataloader().iterables["pairs"], "texts": shuffled}, mode)

    every = ModelCheckpoint(tmp_path / "kept", "{step}", every_n_train_steps=1, save_top_k=-1)
    run(every, module=WithText(), data=Shuffled(tmp_path, mode), max_epochs=1, enable_checkpointing=True)
    path = tmp_path / "kept/step=7.ckpt"
    with pytest.raises(InputError, match=r"the DataLoader beside the preference pairs.*loader_beside"):
        run(module=WithText(), data=Shuffled(tmp_path, mode), ckpt_path=path)
    left_out = run(module=WithText(), data=Shuffled(tmp_path, mode, resume="next_epoch"), ckpt_path=path)
    assert len(left_out.module.seen) == 20  # the second epoch
    assert left_out.trainer.current_epoch == 2


class Endless(IterableDataset[torch.Tensor]):
    def __iter__(self) -> Any:
        while True:
            yield TEXTS[0]


def test_a_loader_without_an_end_beside_ours(tmp_path):
    class WithEndless(Beside):
        def train_dataloader(self) -> Any:
            pairs = super().train_dataloader().iterables["pairs"]
            return CombinedLoader({"pairs": pairs, "texts": DataLoader(Endless(), 2)}, "max_size_cycle")

    every = ModelCheckpoint(tmp_path / "kept", "{step}", every_n_train_steps=1, save_top_k=-1)
    fitted = WithText()
    source = WithEndless(tmp_path, "max_size_cycle")
    trainer(max_steps=10, callbacks=[every], enable_checkpointing=True).fit(fitted, source)
    cycles = [sorted(row for rows, _ in fitted.seen[begin : begin + 4] for row in rows) for begin in (0, 4)]
    assert cycles == [list(range(16))] * 2
    with pytest.raises(InputError, match="the DataLoader beside the preference pairs"):
        trainer(max_steps=12).fit(WithText(), source, ckpt_path=tmp_path / "kept/step=6.ckpt")


def test_pairs_of_a_step_weigh_the_same_where_another_loader_makes_the_epoch_longer(run, tmp_path):
    weights: list[tuple[int, float]] = []

    class Weighs(WithText):
        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            weights.append((batch["pairs"].examples, batch["pairs"].example_weight))
            return super().training_step(batch, batch_idx)

    class Uneven(Beside):  # 15 pairs, so that one batch of four is smaller
        pass

    source = Uneven(tmp_path, "max_size_cycle", train_split="train[:15]")
    run(module=Weighs(), data=source, max_epochs=1, accumulate_grad_batches=3)
    assert len(weights) == 20
    for begin in range(0, 20, 3):
        window = weights[begin : begin + 3]
        assert sum(pairs * weight for pairs, weight in window) / 3 == pytest.approx(1)


def test_a_loader_can_be_read_again_in_a_run_and_after_it(tmp_path):
    source, read = data(tmp_path), []

    class Reads(pl.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            read.append([each.row_ids.tolist() for each in source.train_dataloader()])

    fit = trainer(max_steps=4, callbacks=[Reads()])
    fit.fit(module(), source)
    read.append([each.row_ids.tolist() for each in source.train_dataloader()])
    assert [sum(map(len, rows)) for rows in read] == [24] * 5


# Batches that are not ours


class Foreign(PreferenceModule):
    """Trains on whatever comes first, and can raise."""

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return super().training_step(batch["pairs"], batch_idx)


def pairs_loader(count: int = 4) -> DataLoader[Any]:
    return DataLoader(PAIRS * count, batch_size=3, collate_fn=collate_padded)


def test_a_step_without_a_preference_batch_says_so(run):
    other = DataLoader([{"texts": torch.ones(3, dtype=torch.long)}] * 4, batch_size=2)
    with pytest.raises(InputError, match=r"^training_step was given a dict of texts without a preference batch"):
        trainer().fit(module(), other, pairs_loader())


def test_two_preference_batches_need_the_hook(run):
    class Chooses(Foreign):
        def preference_batch(self, batch: Any) -> PreferenceBatch | None:
            return batch["pairs"]

    def both() -> CombinedLoader:
        return CombinedLoader({"pairs": pairs_loader(), "others": pairs_loader()}, "max_size_cycle")

    with pytest.raises(InputError, match=r"a dict with 2 preference batches: override preference_batch\(batch\)"):
        trainer().fit(Foreign(tiny_llama()), both(), pairs_loader())
    fit = trainer()
    fit.fit(Chooses(tiny_llama()), both(), pairs_loader())
    assert fit.global_step == 3


@pytest.mark.parametrize("where", ["training", "validation", "loader", "callback"])
def test_the_users_own_error_is_raised_and_its_batch_named_where_it_is_the_batchs(tmp_path, caplog, where):
    class Fails(PreferenceModule):
        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            if where == "training":
                raise KeyError("mine")
            return super().training_step(batch, batch_idx)

        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
            if where == "validation":
                raise KeyError("mine")

    class Callback(pl.Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            if where == "callback":
                raise KeyError("mine")

    def batches() -> Any:
        yield collate_padded(PAIRS)
        raise KeyError("mine")

    loader = batches() if where == "loader" else pairs_loader()
    settings = {"callbacks": [Callback()], "num_sanity_val_steps": 0, "default_root_dir": tmp_path}
    with caplog.at_level(logging.ERROR), pytest.raises(KeyError, match="mine"):
        trainer(max_steps=-1, max_epochs=1, **settings).fit(Fails(tiny_llama()), loader, pairs_loader())
    assert ("in a micro-batch of" in caplog.text) is (where == "training")


def test_an_error_of_a_foreign_batch_is_not_replaced(tmp_path):
    class Fails(PreferenceModule):
        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        trainer().fit(Fails(tiny_llama()), DataLoader(TEXTS, 2), pairs_loader())


@pytest.mark.filterwarnings("ignore:`training_step` returned `None`")
def test_the_start_is_checked_on_the_first_preference_batch(tmp_path):
    other = tiny_llama()
    other.lm_head.weight.data *= 10
    mixed = [TEXTS[0], collate_padded(PAIRS)]

    class Skips(PreferenceModule):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return super().training_step(batch, batch_idx) if self.preference_batch(batch) else None

    for batches, steps in ((mixed, 2), ([TEXTS[0]], 1)):
        fit = trainer(max_steps=-1, max_epochs=1, accumulate_grad_batches=steps)
        loader = DataLoader(batches, batch_size=None)
        if steps == 1:
            fit.fit(Skips(tiny_llama(), reference=other), loader, pairs_loader())
        else:
            with pytest.raises(RuntimeError, match="before step 0 the policy is not its reference"):
                fit.fit(Skips(tiny_llama(), reference=other), loader, pairs_loader())


# Loaders in the place of ours


def test_a_data_module_of_ones_own(run):
    class Own(pl.LightningDataModule):
        def train_dataloader(self) -> Any:
            return pairs_loader()

        def val_dataloader(self) -> Any:
            return [pairs_loader(1), pairs_loader(2)]

    fitted = run(data=Own())
    assert fitted.trainer.global_step == 8
    assert {"val/loss", "val/0/loss", "val/1/loss"} <= fitted.metrics.keys()


def test_plain_loaders(tmp_path):
    fit = trainer(max_steps=-1, max_epochs=2)
    fit.fit(module(), DataLoader(PAIRS * 4, 3, shuffle=True, collate_fn=collate_padded), pairs_loader())
    assert fit.global_step == 8
    assert "val/loss" in fit.callback_metrics


def test_a_plain_loader_in_order_goes_on_where_it_was(tmp_path):
    def fit(**settings: Any) -> list[float]:
        recorder = Losses()
        ckpt = settings.pop("ckpt_path", None)
        runner = trainer(max_steps=-1, max_epochs=1, callbacks=[recorder, *settings.pop("callbacks", [])], **settings)
        batches = [PAIRS[:1], PAIRS[1:], PAIRS[:2], PAIRS]
        runner.fit(module(), DataLoader(batches, batch_size=None, collate_fn=collate_padded), ckpt_path=ckpt)
        return recorder.losses

    keep = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=2, save_top_k=-1)
    whole = fit(callbacks=[keep], enable_checkpointing=True)
    assert fit(ckpt_path=tmp_path / "step=2.ckpt") == whole[2:]


def test_a_plain_loader_that_shuffles_goes_on_after_an_epoch_with_the_next_ones_order(tmp_path):
    def fit(**settings: Any) -> list[list[int]]:
        seen: list[list[int]] = []

        class Sees(pl.Callback):
            def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
                seen.append(batch.row_ids.tolist())

        pl.seed_everything(1)
        ckpt = settings.pop("ckpt_path", None)
        runner = trainer(max_steps=-1, max_epochs=3, callbacks=[Sees(), *settings.pop("callbacks", [])], **settings)
        runner.fit(module(), DataLoader(PAIRS, 1, shuffle=True, collate_fn=collate_padded), ckpt_path=ckpt)
        return seen

    keep = ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1)
    whole = fit(callbacks=[keep], enable_checkpointing=True)
    assert [fit(ckpt_path=tmp_path / f"epoch={n}.ckpt") for n in (0, 1)] == [whole[3:], whole[6:]]


def test_loaders_are_reloaded_and_rows_replaced(run, tmp_path):
    class Replaces(pl.Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            trainer.datamodule.replace_dataset(write_rows(tmp_path / "more.jsonl", 8))

    fitted = run(Replaces(), reload_dataloaders_every_n_epochs=1)
    assert fitted.trainer.global_step == 6 + 2


def test_prediction_writer_gets_each_batch(tmp_path):
    written: list[tuple[int, list[int]]] = []

    class Writes(BasePredictionWriter):
        def write_on_batch_end(self, trainer: Any, pl_module: Any, prediction: Any, *rest: Any) -> None:
            written.append((rest[-1], prediction["pair_id"].tolist()))

        def write_on_epoch_end(self, trainer: Any, pl_module: Any, predictions: Any, batch_indices: Any) -> None:
            written.append((-1, [row for each in predictions for row in each["pair_id"].tolist()]))

    runner = trainer(callbacks=[Writes("batch_and_epoch")])
    runner.predict(module(), data(tmp_path))
    assert written == [(0, [0, 1, 2, 3]), (0, [4, 5, 6, 7]), (-1, list(range(8)))]


def test_a_list_of_batches_is_refused_by_lightning_and_read_from_a_loader(tmp_path):
    rows = data(tmp_path)
    rows.setup("fit")
    batches = list(rows.train_dataloader())
    with pytest.raises(TypeError, match=r"An invalid dataloader was passed to `Trainer.fit\(train_dataloaders=...\)`"):
        trainer().fit(module(), batches)
    fit = trainer(max_steps=2)
    fit.fit(module(), DataLoader(batches, batch_size=None, collate_fn=lambda batch: batch))
    assert fit.global_step == 2
