"""Several sets to validate on, to test on, and to predict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.utilities import CombinedLoader
from torch.utils.data import DataLoader

from dpo_lightning import PreferenceModule, WriteRewards
from dpo_lightning.batch import collate_padded
from dpo_lightning.errors import InputError
from tests.helpers.resumable import in_processes
from tests.helpers.runs import computed, data, module, trainer, write_rows
from tests.helpers.tiny import PAIRS, tiny_llama

SETS = {"in_domain": "train[:6]", "held_out": "train[20:]"}


class Off(PreferenceModule):
    """A policy that is not its reference, so that each pair has a loss of its own."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(tiny_llama(), reference=tiny_llama(seed=1), step_zero_check=False, **settings)


def loss_of(loaders: Any) -> dict[str, float]:
    fit = trainer()
    fit.validate(Off(), dataloaders=loaders, verbose=False)
    return {name: float(value) for name, value in fit.callback_metrics.items()}


def test_named_sets_have_metrics_of_their_own_and_the_mean_is_over_all_examples(run, tmp_path):
    found = run(module=Off(), data=data(tmp_path, val_split=SETS), max_epochs=1, limit_train_batches=0)
    assert found.metrics == {}
    fit = trainer()
    fit.validate(Off(), data(tmp_path, val_split=SETS), verbose=False)
    several = {name: float(value) for name, value in fit.callback_metrics.items()}
    for name, split in SETS.items():
        alone = trainer()
        alone.validate(Off(), data(tmp_path, val_split=split), verbose=False)
        assert several[f"val/{name}/loss"] == pytest.approx(float(alone.callback_metrics["val/loss"]), rel=1e-5)
        assert f"val/{name}/rewards/margins" in several
    mean = (6 * several["val/in_domain/loss"] + 4 * several["val/held_out/loss"]) / 10
    assert several["val/loss"] == pytest.approx(mean, rel=1e-5)
    assert several["val/in_domain/loss"] != pytest.approx(several["val/held_out/loss"], rel=1e-3)


def test_a_set_from_a_file_and_one_that_is_held_out(run, tmp_path):
    other = write_rows(tmp_path / "other.jsonl", 5)
    source = data(tmp_path, val_split={"own": 0.25, "other": other, "part": f"{other}[:2]"})
    fitted = run(data=source, max_epochs=1)
    assert {"val/own/loss", "val/other/loss", "val/part/loss", "val/loss"} <= fitted.metrics.keys()
    assert [len(rows) for rows in source.examples_used("fit")] == [18, 6, 5, 2]
    assert len(source.prompts("val")) == 13
    assert len(source.examples("val/other")) == 5


def test_one_set_keeps_its_names_and_one_named_set_has_both(run, tmp_path):
    alone = run(max_epochs=1).metrics
    named = run(data=data(tmp_path, val_split={"only": "train[:8]"}), max_epochs=1).metrics
    assert named["val/only/loss"] == named["val/loss"] == alone["val/loss"]
    assert alone.keys() == {name for name in named if "only" not in name}


@pytest.mark.parametrize("names", [{"a/b": "train"}, {"": "train"}, {}, {3: "train"}])
@pytest.mark.parametrize("key", ["val_split", "test_split"])
def test_names_that_cannot_be_are_refused(tmp_path, names, key):
    with pytest.raises(InputError, match=rf"data.{key}"):
        data(tmp_path, **{key: names})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"val_split": {"a": 0.1, "b": 0.2}}, "one set only can be held out"),
        ({"val_split": {"a": 1.5}}, "between 0 and 1"),
        ({"val_split": {"a": None}}, "must be a number or text or null or a mapping, each a number or text, got"),
        ({"test_split": {"a": 0.1}}, "must be text or null or a mapping, each text, got"),
    ],
)
def test_places_that_cannot_be_are_refused(tmp_path, settings, said):
    with pytest.raises(InputError, match=said):
        data(tmp_path, **settings)


def test_callbacks_follow_one_set(run, tmp_path):
    keep = ModelCheckpoint(
        tmp_path / "kept", "{step}", monitor="val/held_out/loss", save_top_k=1, auto_insert_metric_name=False
    )
    stop = EarlyStopping("val/held_out/loss", patience=1, min_delta=1e9)
    source = data(tmp_path, val_split=SETS)
    fitted = run(keep, stop, data=source, max_epochs=9, enable_checkpointing=True, limit_val_batches=1)
    assert fitted.trainer.current_epoch == 2
    assert keep.best_model_score <= fitted.metrics["val/held_out/loss"]


def test_a_resumed_run_has_the_same_metrics(run, tmp_path):
    keep = ModelCheckpoint(tmp_path / "kept", "{step}", every_n_train_steps=4, save_top_k=-1)
    whole = run(keep, data=data(tmp_path, val_split=SETS), enable_checkpointing=True)
    rest = run(data=data(tmp_path, val_split=SETS), ckpt_path=tmp_path / "kept/step=4.ckpt")
    assert computed(rest.metrics) == computed(whole.metrics)
    assert rest.losses == whole.losses[4:]


def loader(count: int) -> DataLoader[Any]:
    return DataLoader(PAIRS[:count], batch_size=2, collate_fn=collate_padded)


def test_lists_and_dicts_of_loaders():
    alone = [loss_of(loader(count))["val/loss"] for count in (1, 3)]
    of_list, of_dict = loss_of([loader(1), loader(3)]), loss_of({"a": loader(1), "b": loader(3)})
    of_mode = loss_of(CombinedLoader({"a": loader(1), "b": loader(3)}, "sequential"))
    assert [of_list["val/0/loss"], of_list["val/1/loss"]] == pytest.approx(alone)
    assert [of_dict["val/a/loss"], of_dict["val/b/loss"]] == pytest.approx(alone)
    assert of_mode == of_dict
    assert of_list["val/loss"] == pytest.approx((alone[0] + 3 * alone[1]) / 4)
    assert loss_of([loader(3)]).keys() == loss_of(loader(3)).keys()
    with pytest.raises(InputError, match="cannot be named 'a/b'"):
        loss_of({"a/b": loader(1), "c": loader(2)})


def test_several_test_sets_have_metrics_of_their_own(tmp_path):
    fit = trainer()
    source = data(tmp_path, test_split={"a": "train[:4]", "b": "train[4:9]"})
    fit.test(module(), source, verbose=False)
    assert {"test/loss", "test/a/loss", "test/b/loss"} <= fit.callback_metrics.keys()


def test_several_sets_are_predicted_and_written(tmp_path):
    source = data(tmp_path, val_split=SETS)
    fit = trainer(callbacks=[WriteRewards(str(tmp_path / "rewards.jsonl"))])
    first, second = fit.predict(module(), source)
    assert [sum(len(each["pair_id"]) for each in part) for part in (first, second)] == [6, 4]
    rows = [json.loads(line) for line in (tmp_path / "rewards.jsonl").read_text().splitlines()]
    assert [row["set"] for row in rows] == ["in_domain"] * 6 + ["held_out"] * 4
    fit.predict(module(), data(tmp_path))
    assert all("set" not in json.loads(line) for line in (tmp_path / "rewards.jsonl").read_text().splitlines())


def on_two_ranks(rank: int, directory: Path) -> None:
    """Validate the sets with half of them on each rank."""
    fit = trainer(devices=2, strategy="ddp")
    fit.validate(Off(), data(directory / str(rank), val_split=SETS), verbose=False)
    metrics = {name: float(value) for name, value in fit.callback_metrics.items()}
    (directory / f"found-{rank}.json").write_text(json.dumps(metrics))


def test_ranks_agree_on_the_means_of_every_set(tmp_path):
    for name in ("0", "1", "alone"):
        (tmp_path / name).mkdir()
    assert in_processes(2, on_two_ranks, tmp_path, output=tmp_path) == [0, 0]
    first, second = (json.loads((tmp_path / f"found-{rank}.json").read_text()) for rank in range(2))
    alone = trainer()
    alone.validate(Off(), data(tmp_path / "alone", val_split=SETS), verbose=False)
    assert first == second
    assert first == pytest.approx({name: float(value) for name, value in alone.callback_metrics.items()}, rel=1e-4)


def test_a_subclass_that_logs_in_validation_gets_its_own_names(run, tmp_path):
    class Logs(PreferenceModule):
        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
            super().validation_step(batch, batch_idx, dataloader_idx)
            self.log("mine", torch.tensor(1.0), batch_size=batch.examples)

    fitted = run(module=Logs(tiny_llama()), data=data(tmp_path, val_split=SETS), max_epochs=1)
    assert {"mine/dataloader_idx_0", "mine/dataloader_idx_1", "val/held_out/loss"} <= fitted.metrics.keys()
