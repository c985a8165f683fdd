"""A module of one's own over the package's pairs: a fit that goes on has the order of each epoch once."""

from __future__ import annotations

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from tests.helpers.runs import data, trainer

EPOCH = 6  # batches


class Own(pl.LightningModule):
    """Notes which rows each batch has."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(3))
        self.seen: list[list[int]] = []

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def training_step(self, batch, batch_idx):
        self.seen.append(sorted(set(batch.row_ids.tolist())))
        return self.weight.sum()

    def validation_step(self, batch, batch_idx):
        """Nothing to see."""


def rows(path, steps, *callbacks, ckpt_path=None, save=None):
    """What the batches of a fit had; `save` takes a checkpoint after it."""
    module = Own()
    fit = trainer(max_steps=steps, callbacks=list(callbacks), enable_checkpointing=bool(callbacks))
    fit.fit(module, data(path), ckpt_path=ckpt_path)
    if save is not None:
        fit.save_checkpoint(save)
    return module.seen


@pytest.mark.parametrize("end", [True, False], ids=["train end", "validation end"])
def test_it_goes_on_from_the_end_of_an_epoch(tmp_path, end):
    saving = ModelCheckpoint(tmp_path / "saved", save_top_k=-1, every_n_epochs=1, save_on_train_epoch_end=end)
    straight = rows(tmp_path, 3 * EPOCH, saving)
    assert straight[:EPOCH] != straight[EPOCH : 2 * EPOCH]
    for epoch in (1, 2):
        (path,) = (tmp_path / "saved").glob(f"*step={epoch * EPOCH}.ckpt")
        assert rows(tmp_path, 3 * EPOCH, ckpt_path=path) == straight[epoch * EPOCH :]


@pytest.mark.parametrize("steps", [4, EPOCH, EPOCH + 4])
def test_it_goes_on_from_where_a_limit_of_steps_has_ended_it(tmp_path, steps):
    straight = rows(tmp_path, 3 * EPOCH)
    assert rows(tmp_path, steps, save=tmp_path / "a.ckpt") == straight[:steps]
    later = rows(tmp_path, steps + 3, ckpt_path=tmp_path / "a.ckpt", save=tmp_path / "b.ckpt")
    assert later == straight[steps : steps + 3]
    assert rows(tmp_path, 3 * EPOCH, ckpt_path=tmp_path / "b.ckpt") == straight[steps + 3 :]
