"""Which rows each split has."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import pytest
from datasets import Dataset, DatasetDict
from lightning.pytorch.callbacks import ModelCheckpoint

from dpo_lightning import Precomputed, PreferenceModule
from dpo_lightning.callbacks import ExactResume
from dpo_lightning.errors import InputError
from tests.data.common import (
    PAIRS,
    Fits,
    Recorder,
    data,
    flat,
    ids,
    ready,
    rows,
    run,
)
from tests.helpers.runs import saved_model, trainer


def test_a_fraction_that_leaves_nothing_to_train_on():
    with pytest.raises(InputError, match=r"data.val_split: 0.9 of 2 pairs leaves none to train on"):
        ready(Dataset.from_list(rows(2)), val_split=0.9)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train_split": "trian"}, "^data.train_split: the dataset in memory: split 'trian': "),
        ({"val_split": "nope"}, "^data.val_split: the dataset in memory: split 'nope': "),
        ({"test_split": {"far": "nope"}}, "^data.test_split.far: the dataset in memory: split 'nope': "),
        ({"val_split": "nowhere.jsonl"}, "^data.val_split: nowhere.jsonl: no such file"),
        ({"dataset": "nowhere.jsonl"}, "^data.dataset: nowhere.jsonl: no such file"),
        ({"dataset": "."}, "^data.dataset: .: cannot be loaded: "),
        ({"dataset": "nowhere.jsonl", "val_split": 0.5}, "^data.dataset: nowhere.jsonl: no such file"),
    ],
)
def test_what_cannot_be_read_is_named_by_its_key(tmp_path, monkeypatch, settings, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        ready(settings.pop("dataset", Dataset.from_list(rows(4))), **settings)


def test_a_held_out_fraction_keeps_row_ids_and_loses_no_pair():
    module = ready(val_split=0.25)
    train, val = (sorted(flat(loader)) for loader in (module.train_dataloader(), module.val_dataloader()))
    assert len(val) == 6
    assert sorted(train + val) == list(range(PAIRS))
    assert flat(ready(val_split=0.25).val_dataloader()) == flat(module.val_dataloader())
    assert flat(ready(val_split=0.25, seed=1).val_dataloader()) != flat(module.val_dataloader())


def test_named_splits_and_slices():
    source = DatasetDict(train=Dataset.from_list(rows()), held_out=Dataset.from_list(rows(5)))
    module = ready(source, train_split="train[4:]", val_split="held_out", test_split="train[:3]", eval_batch_pairs=2)
    assert sorted(flat(module.train_dataloader())) == list(range(18))  # rows of the slice
    assert ids(module.val_dataloader()) == [[0, 1], [2, 3], [4]]
    assert flat(module.test_dataloader()) == [0, 1, 2]
    assert flat(module.predict_dataloader()) == [0, 1, 2]


def test_the_test_pairs_are_the_validation_pairs_unless_named():
    module = ready(val_split="train[:5]")
    assert flat(module.test_dataloader()) == flat(module.val_dataloader()) == [0, 1, 2, 3, 4]


def test_nothing_to_evaluate_on():
    with pytest.raises(InputError, match=r"nothing to validate on: set data.val_split"):
        trainer().validate(Recorder(), datamodule=data())
    with pytest.raises(InputError, match=r"nothing to test on: set data.test_split or data.val_split"):
        trainer().test(Recorder(), datamodule=data())


def test_prompts_are_those_of_the_split():
    module = ready(val_split="train[:3]")
    assert [module.tokenizer.decode(prompt) for prompt in module.prompts("val")] == [":", "ab:", "abab:"]
    with pytest.raises(InputError, match=r"there are no test pairs: set data.test_split"):
        module.prompts("test")


def test_examples_of_a_split_can_be_read():
    module = ready(val_split="train[:3]")
    assert [each.row for each in module.examples("val")] == [0, 1, 2]
    assert module.examples("train")[5].completion_ids[0][-1] == module.tokenizer.eos_token_id
    with pytest.raises(InputError, match=r"there are no test pairs: set data.test_split"):
        module.examples("test")


class Replacing(pl.Callback):
    """Gives other rows for each epoch after the first."""

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        start = 100 * (trainer.current_epoch + 1)
        trainer.datamodule.replace_dataset(Dataset.from_list(rows(6 + trainer.current_epoch, start)))


def test_rows_are_replaced_between_epochs():
    module, source = Recorder(), data(val_split="train[:5]")
    contents = set()

    class Watching(Replacing):
        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            contents.add(source.state_dict()["content"])

    run(module, source, callbacks=[Watching()], reload_dataloaders_every_n_epochs=1)

    epochs = [list(range(22)), list(range(6)), list(range(7))]
    seen = [row for batch in module.seen["train"] for row in batch]
    for expected in epochs:
        part, seen = seen[: len(expected)], seen[len(expected) :]
        assert sorted(part) == expected
    assert seen == []
    assert module.seen["val"] == [[0, 1, 2], [3, 4]] * 3
    assert len(contents) == 3
    assert len(source.examples("train")) == 8


def test_rows_that_were_never_there_are_not_replaced():
    with pytest.raises(InputError, match=r"data.replace_dataset: nothing was read yet: give the first dataset to the"):
        data().replace_dataset(Dataset.from_list(rows(5)))


class ReplacingWithin(pl.Callback):
    """Gives other rows in the middle of the first epoch, and notes what checkpoints say of the rows."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int, str]] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.current_epoch == 0 and batch_idx == 2:
            trainer.datamodule.replace_dataset(Dataset.from_list(rows(8, 100)))
        state = trainer.datamodule.state_dict()
        self.told.append((trainer.current_epoch, state["pairs"], state["content"]))


def test_the_running_epoch_ends_with_its_rows_and_its_checkpoints_name_them():
    module, watching = Recorder(), ReplacingWithin()
    run(module, data(), callbacks=[watching], max_epochs=2, reload_dataloaders_every_n_epochs=1)

    seen = [row for batch in module.seen["train"] for row in batch]
    assert (sorted(seen[:PAIRS]), sorted(seen[PAIRS:])) == (list(range(PAIRS)), list(range(8)))
    first, second = data(), data(Dataset.from_list(rows(8, 100)))
    for each in (first, second):
        each.setup()
    expected = [(0, PAIRS, first.splits.content)] * 6 + [(1, 8, second.splits.content)] * 2
    assert watching.told == expected


def test_a_run_goes_on_with_the_rows_of_its_checkpoints_epoch(tmp_path):
    every_step = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
    reloading, checkpoint = {"reload_dataloaders_every_n_epochs": 1}, str(tmp_path / "step=4.ckpt")
    whole, again = Recorder(), Recorder()
    run(whole, data(), callbacks=[ReplacingWithin(), every_step], enable_checkpointing=True, max_epochs=2, **reloading)

    run(again, data(), ckpt_path=checkpoint, max_epochs=1, **reloading)
    assert again.seen["train"] == whole.seen["train"][4:6]
    with pytest.raises(InputError, match="the checkpoint was written with pairs 22, this run has 8"):
        run(again, data(Dataset.from_list(rows(8, 100))), ckpt_path=checkpoint, **reloading)


OTHERS = Dataset.from_list(rows(8, 100))
RELOADING: dict[str, Any] = {"reload_dataloaders_every_n_epochs": 1}


class ReplacingAtTheEnd(pl.Callback):
    """Gives other rows at the end of the first epoch."""

    def __init__(self, others: Dataset = OTHERS) -> None:
        self.others = others

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == 0:
            trainer.datamodule.replace_dataset(self.others)


NOT_GIVEN = r"^data.replace_dataset: the checkpoint's run had 8 pairs, content \w+, for the epoch after 0, and this run"


# Where Lightning counts steps, its own restart leaves an epoch out.
ways = pytest.mark.parametrize(
    ("limit", "exact"),
    [({"max_steps": -1}, []), ({"max_steps": -1}, [ExactResume]), ({"max_steps": 99}, [ExactResume])],
    ids=["epochs", "exact", "steps"],
)


@ways
def test_a_checkpoint_of_the_epochs_end_goes_on_with_the_rows_that_were_waiting(tmp_path, limit, exact):
    at_end = ModelCheckpoint(tmp_path, "{epoch}", save_on_train_epoch_end=True, save_top_k=-1)
    whole = Recorder()
    settings = {"max_epochs": 3, **RELOADING, **limit}
    run(
        whole,
        data(),
        callbacks=[ReplacingAtTheEnd(), *(each() for each in exact), at_end],
        enable_checkpointing=True,
        **settings,
    )
    rest, checkpoint = whole.seen["train"][6:], str(tmp_path / "epoch=0.ckpt")

    for reload in ({}, {"reload_dataloaders_every_n_epochs": 0}):
        again = Recorder()
        run(again, data(OTHERS), ckpt_path=checkpoint, callbacks=[each() for each in exact], **{**settings, **reload})
        assert again.seen["train"] == rest
        refused = Recorder()
        with pytest.raises(InputError, match=NOT_GIVEN + " has not got them: give them as data.dataset"):
            run(refused, data(), ckpt_path=checkpoint, callbacks=[each() for each in exact], **{**settings, **reload})
        assert refused.seen["train"] == []
    with pytest.raises(InputError, match=r"the checkpoint was written with pairs 22, this run has 9"):
        run(
            Recorder(),
            data(Dataset.from_list(rows(9))),
            ckpt_path=checkpoint,
            callbacks=[each() for each in exact],
            **settings,
        )
    first = Recorder()
    run(first, data(resume="next_epoch"), ckpt_path=checkpoint, callbacks=[each() for each in exact], **settings)
    assert sorted(row for batch in first.seen["train"] for row in batch) == sorted([*range(PAIRS)] * 2)


@ways
def test_more_rows_that_were_waiting_are_read_from_their_begin(tmp_path, limit, exact):
    more = Dataset.from_list(rows(40, 100))
    at_end = ModelCheckpoint(tmp_path, "{epoch}", save_on_train_epoch_end=True, save_top_k=-1)
    whole, again = Recorder(), Recorder()
    settings = {"max_epochs": 2, **RELOADING, **limit}
    run(
        whole,
        data(),
        callbacks=[ReplacingAtTheEnd(more), *(each() for each in exact), at_end],
        enable_checkpointing=True,
        **settings,
    )
    run(again, data(more), ckpt_path=str(tmp_path / "epoch=0.ckpt"), callbacks=[each() for each in exact], **settings)

    assert again.seen["train"] == whole.seen["train"][6:]


def test_a_checkpoint_within_an_epoch_goes_on_with_its_rows_until_the_others_are_given(tmp_path):
    every_step = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
    whole, checkpoint = Recorder(), str(tmp_path / "step=4.ckpt")
    settings = {"max_epochs": 2, **RELOADING}
    run(whole, data(), callbacks=[ReplacingWithin(), every_step], enable_checkpointing=True, **settings)
    again, refused = Recorder(), Recorder()
    run(again, data(), ckpt_path=checkpoint, callbacks=[ReplacingAtTheEnd()], **settings)
    with pytest.raises(InputError, match=NOT_GIVEN + " has not got them: call it in this run, before the next epoch"):
        run(refused, data(), ckpt_path=checkpoint, **settings)
    with pytest.raises(InputError, match=NOT_GIVEN):
        run(Recorder(), data(), ckpt_path=checkpoint, **{**settings, "reload_dataloaders_every_n_epochs": 0})

    assert again.seen["train"] == whole.seen["train"][4:]
    assert refused.seen["train"] == whole.seen["train"][4:6]


def test_a_run_that_stopped_within_an_epoch_reads_the_rest_of_it_first(tmp_path):
    stopped = run(Recorder(), data(), callbacks=[ReplacingWithin(), ExactResume()], max_steps=4, **RELOADING)
    stopped.save_checkpoint(tmp_path / "x.ckpt")
    with pytest.raises(InputError, match="the checkpoint was written with pairs 22, this run has 8"):
        run(Recorder(), data(OTHERS), ckpt_path=str(tmp_path / "x.ckpt"), **RELOADING)


def test_a_resumed_run_hands_on_that_rows_are_waiting(tmp_path):
    every_step = ModelCheckpoint(tmp_path / "a", "{step}", every_n_train_steps=1, save_top_k=-1)
    saving = {"enable_checkpointing": True, "max_epochs": 1, **RELOADING}
    run(Recorder(), data(), callbacks=[ReplacingWithin(), every_step], **saving)
    at_end = ModelCheckpoint(tmp_path / "b", "{epoch}", save_on_train_epoch_end=True, save_top_k=-1)
    run(Recorder(), data(), ckpt_path=str(tmp_path / "a/step=4.ckpt"), callbacks=[at_end], **saving)
    rest = Recorder()
    run(rest, data(OTHERS), ckpt_path=str(tmp_path / "b/epoch=0.ckpt"), max_epochs=2, **RELOADING)

    assert sorted(row for batch in rest.seen["train"] for row in batch) == list(range(8))


def test_rows_that_could_not_be_read_do_not_wait():
    source = data()
    fit = run(Recorder(), source, max_epochs=1)
    with pytest.raises(InputError, match=r"row 0 \(from 0\): field `chosen`: null"):
        source.replace_dataset(Dataset.from_list([{**rows(1)[0], "chosen": None}]))
    assert "next_rows" not in source.state_dict()
    source.replace_dataset(OTHERS)
    assert source.state_dict()["next_rows"]["due"]
    assert fit.datamodule is source


def test_rows_given_after_a_run_are_those_of_its_next_epoch(tmp_path):
    source, rest = data(), Recorder()
    fit = run(Recorder(), source, max_epochs=1)
    source.replace_dataset(OTHERS)
    fit.save_checkpoint(tmp_path / "x.ckpt")
    run(rest, data(OTHERS), ckpt_path=str(tmp_path / "x.ckpt"), max_epochs=2)

    assert sorted(row for batch in rest.seen["train"] for row in batch) == list(range(8))
    with pytest.raises(InputError, match=NOT_GIVEN):
        run(Recorder(), data(), ckpt_path=str(tmp_path / "x.ckpt"), max_epochs=2)


def test_rows_that_no_loader_would_read_are_refused():
    message = r"^data.replace_dataset: the run keeps its training loader, .*: give the Trainer reload_dataloaders_"
    with pytest.raises(InputError, match=message):
        run(Recorder(), data(), callbacks=[ReplacingWithin()])


class Scored(Fits):
    """Knows the rows that its run began with."""

    def other_rows_problem(self) -> str | None:
        return "the first rows are known alone"


def test_a_module_may_know_its_first_rows_only():
    source = data()
    with pytest.raises(InputError, match=r"^data.replace_dataset: the first rows are known alone$"):
        run(Scored(), source, callbacks=[ReplacingWithin()], **RELOADING)
    module = Scored()
    run(module, source, max_epochs=1)
    source.replace_dataset(OTHERS)
    run(module, source, max_epochs=1)
    assert [len(batch) for batch in module.seen["train"][6:]] == [4, 4]


def test_a_precomputed_reference_scores_the_rows_of_a_run_at_its_start(tmp_path):
    source = data(layout="padded")
    model = PreferenceModule(saved_model(tmp_path / "model"), reference=Precomputed(cache_dir=str(tmp_path / "cache")))
    with pytest.raises(InputError, match=r"^data.replace_dataset: reference Precomputed scores rows at the start of"):
        trainer(max_epochs=2, max_steps=-1, callbacks=[ReplacingAtTheEnd()], **RELOADING).fit(model, source)
    source.replace_dataset(OTHERS)
    trainer(max_epochs=1, max_steps=-1).fit(model, source)
    assert len(source.examples("train")) == 8


def test_rows_are_replaced_between_runs():
    module, source = Recorder(), data()
    run(module, source, max_epochs=1)
    source.replace_dataset(Dataset.from_list(rows(8, 100)))
    run(module, source, max_epochs=1)

    seen = [row for batch in module.seen["train"] for row in batch]
    assert sorted(seen[PAIRS:]) == list(range(8))
