"""The DataModule: its settings, its loaders, and what a Trainer sees of it."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset

from dpo_lightning.errors import InputError
from tests.data.common import (
    BATCHES,
    PAIRS,
    Recorder,
    data,
    flat,
    ids,
    ready,
    run,
)
from tests.helpers.runs import trainer
from tests.helpers.tokenizers import CHATML, chat, turn


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"val_split": 1.5}, "data.val_split: a held-out fraction is between 0 and 1, got 1.5"),
        ({"val_split": 0.0}, "data.val_split"),
        ({"val_split": 1}, "data.val_split"),
        ({"batch_pairs": 0}, "data.batch_pairs must be at least 1, got 0"),
        ({"batch_tokens": 0}, "data.batch_tokens must be at least 1, got 0"),
        ({"eval_batch_pairs": 0}, "data.eval_batch_pairs must be at least 1"),
        ({"batch_tokens": 90}, "data.batch_pairs and data.batch_tokens: give one of them"),
        ({"batch_pairs": None, "batch_tokens": 90}, "data.length_grouped: with data.batch_tokens, .*: leave it out"),
        ({"num_workers": -1}, "data.num_workers must be at least 0"),
    ],
)
def test_settings_that_cannot_be_are_refused_at_once(settings, message):
    with pytest.raises(InputError, match=message):
        data(**settings)


def test_the_training_order_is_new_each_epoch_and_the_validation_order_the_datas():
    module = ready(val_split="train")
    loader = module.train_dataloader()
    orders = []
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)
        orders.append(flat(loader))
    assert orders[0] != orders[1]
    assert flat(module.val_dataloader()) == list(range(PAIRS))


def test_worker_processes_give_the_same_batches(capfd):
    plain, parallel = (ready(num_workers=workers).train_dataloader() for workers in (0, 2))
    for one, other in zip(plain, parallel, strict=True):
        assert torch.equal(one.input_ids, other.input_ids)
        assert one.example_weight == other.example_weight == 1 / one.examples
    assert "fork" not in "".join(capfd.readouterr())


def test_what_counts_is_what_batches_score_and_what_a_checkpoint_compares():
    long = [turn("assistant", "yes"), turn("user", "sure?"), turn("assistant", "yes")]
    row = {"prompt": [turn("user", "a?")], "chosen": long, "rejected": [turn("assistant", "no")]}
    modules = {
        scored: ready(Dataset.from_list([row]), tokenizer=chat(CHATML), scored=scored, batch_pairs=1)
        for scored in ("completion", "assistant", "last_assistant")
    }
    lengths = {scored: next(iter(each.train_dataloader())).lengths.tolist() for scored, each in modules.items()}
    # yes, end, newline; user, sure?, end, newline; assistant, yes, end, newline: a token for each letter
    assert lengths == {"completion": [19, 4], "assistant": [10, 4], "last_assistant": [5, 4]}
    assert len({each.splits.content for each in modules.values()}) == 3


def test_iterating_leaves_the_global_generator_alone():
    loader = ready().train_dataloader()
    before = torch.get_rng_state()
    list(loader)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("stage", ["train", "val"])
def test_the_ranks_share_the_pairs(stage):
    shares = []
    for rank in range(2):
        module = ready(val_split="train")
        module.trainer = SimpleNamespace(
            distributed_sampler_kwargs={"num_replicas": 2, "rank": rank},
            lightning_module=None,
            overfit_batches=0.0,
            fit_loop=trainer().fit_loop,
            accumulate_grad_batches=1,
            num_training_batches=99,
        )
        shares.append(ids(getattr(module, f"{stage}_dataloader")()))
    assert len(shares[0]) == len(shares[1])
    assert sorted(pair for share in shares for batch in share for pair in batch) == list(range(PAIRS))


def test_a_fit_sees_every_pair_once_an_epoch():
    module = Recorder()
    run(module, data(val_split="train[:5]"), max_epochs=2)
    assert len(module.seen["train"]) == 2 * BATCHES
    first, second = module.seen["train"][:BATCHES], module.seen["train"][BATCHES:]
    for epoch in (first, second):
        assert sorted(pair for batch in epoch for pair in batch) == list(range(PAIRS))
    assert first != second
    assert module.seen["val"] == [[0, 1, 2], [3, 4]] * 2


@pytest.mark.parametrize(
    ("settings", "train", "val"),
    [
        ({"limit_train_batches": 2}, 2, 2),
        ({"limit_train_batches": 0.5}, 3, 2),
        ({"limit_val_batches": 1}, 6, 1),
        ({"limit_val_batches": 0}, 6, 0),
        ({"val_check_interval": 2}, 6, 6),
        ({"val_check_interval": 0.5}, 6, 4),
        ({"fast_dev_run": 2}, 2, 2),
        ({"accumulate_grad_batches": 4}, 6, 2),
        ({"max_steps": 3}, 3, 0),
        ({"num_sanity_val_steps": 2}, 6, 2),
        ({"reload_dataloaders_every_n_epochs": 1}, 6, 2),
    ],
)
def test_ways_to_fit(settings, train, val):
    module = Recorder()
    run(module, data(val_split="train[:5]"), **{"max_epochs": 1, **settings})
    assert (len(module.seen["train"]), len(module.seen["val"])) == (train, val)


def test_validate_test_and_predict():
    module, source = Recorder(), data(val_split="train[:5]", test_split="train[5:12]")
    trainer().validate(module, datamodule=source, verbose=False)
    trainer().test(module, datamodule=source, verbose=False)
    predicted = trainer().predict(module, datamodule=source)
    assert module.seen == {
        "train": [],
        "val": [[0, 1, 2], [3, 4]],
        "test": [[0, 1, 2, 3], [4, 5, 6]],
        "predict": [[0, 1, 2, 3], [4, 5, 6]],
    }
    assert [batch.tolist() for batch in predicted] == module.seen["predict"]


def test_a_fit_without_validation_says_nothing_and_leaves_the_trainer_as_it_was(recwarn):
    module = Recorder()
    fit = run(module, data(), max_epochs=2, limit_val_batches=7)
    assert len(module.seen["train"]) == 2 * BATCHES
    assert not [str(warning.message) for warning in recwarn if "val" in str(warning.message)]
    assert not [str(warning.message) for warning in recwarn if "zero" in str(warning.message)]
    assert fit.limit_val_batches == 7
    fit.validate(module, datamodule=data(val_split="train[:5]"), verbose=False)
    assert module.seen["val"] == [[0, 1, 2], [3, 4]]


def test_overfitting_repeats_the_same_batches():
    module = Recorder()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "You requested to overfit")  # and it is turned off
        run(module, data(), overfit_batches=2, max_epochs=3)
    assert module.seen["train"] == [[0, 1, 2, 3], [4, 5, 6, 7]] * 3


@pytest.mark.parametrize("precision", ["bf16-true", "bf16-mixed", "16-true", "32-true"])
def test_a_batch_stays_integer_whatever_the_precision(precision):
    module = Recorder()
    run(module, data(), precision=precision, max_epochs=1, limit_train_batches=1)
    assert module.dtypes == {torch.int64}
