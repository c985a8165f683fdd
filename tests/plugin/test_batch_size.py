"""A search for the largest batch."""

from __future__ import annotations

import pytest
from lightning.pytorch.callbacks import BatchSizeFinder, LearningRateFinder
from lightning.pytorch.tuner import Tuner

from dpo_lightning import Linear
from dpo_lightning.errors import InputError
from tests.helpers.runs import data, module, trainer

pytestmark = pytest.mark.filterwarnings("ignore:.*logger=", "ignore:You defined a `validation_step`")

TOKENS = {"batch_pairs": None, "batch_tokens": 60, "layout": "tree"}


@pytest.mark.parametrize("mode", ["power", "binsearch"])
@pytest.mark.parametrize(("name", "settings"), [("batch_pairs", {"batch_pairs": 2}), ("batch_tokens", TOKENS)])
def test_scale_batch_size(tmp_path, mode, name, settings):
    source, fit = data(tmp_path, **settings), trainer(default_root_dir=tmp_path, max_steps=3)
    how = {"max_trials": 3, "steps_per_trial": 1, "margin": 0.0}
    found = Tuner(fit).scale_batch_size(module(), datamodule=source, mode=mode, batch_arg_name=name, **how)
    assert found == getattr(source, name) == getattr(source.batching, name)
    assert found > settings[name]
    after = trainer(max_steps=3)
    after.fit(module(), source)
    sizes = [sum(map(len, step)) for step in source.train_dataloader().sampler.plan.steps(0)]
    assert max(sizes) == 8 if name == "batch_pairs" else max(sizes) > 2
    assert after.global_step == 3


@pytest.mark.parametrize(("name", "settings"), [("batch_pairs", {"batch_pairs": 2}), ("batch_tokens", TOKENS)])
def test_batch_size_finder(run, tmp_path, name, settings):
    finder = BatchSizeFinder(batch_arg_name=name, max_trials=2, steps_per_trial=1)
    source = data(tmp_path, **settings)
    fitted = run(finder, data=source, max_epochs=1)
    assert getattr(source, name) == finder.optimal_batch_size
    assert fitted.trainer.global_step == len(source.train_dataloader()) < 24
    assert "val/loss" in fitted.metrics


def test_a_schedule_ends_with_the_run_that_the_found_size_makes(run, tmp_path):
    finder = BatchSizeFinder(batch_arg_name="batch_pairs", max_trials=2, steps_per_trial=1)
    model = module(schedule=Linear(warmup=0))
    fitted = run(finder, module=model, data=data(tmp_path, batch_pairs=2))
    assert fitted.trainer.global_step < 24
    assert fitted.trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0, abs=1e-12)


def test_a_search_for_a_size_that_is_not_in_force_is_refused(run):
    with pytest.raises(InputError, match=r"^BatchSizeFinder: data.batch_tokens is null, since data.batch_pairs is in"):
        run(BatchSizeFinder(batch_arg_name="batch_tokens"))


@pytest.mark.parametrize(
    ("fn", "name", "other"),
    [("fit", "eval_batch_pairs", "batch_pairs"), ("validate", "batch_pairs", "eval_batch_pairs")],
)
def test_a_search_for_a_size_that_makes_no_batch_of_the_stage_is_refused(tmp_path, fn, name, other):
    line = rf"^BatchSizeFinder: data.{name} makes no batch of this {fn}, whose size is data.{other}: give batch_arg"
    source = data(tmp_path, eval_batch_pairs=2)
    with pytest.raises(InputError, match=line):
        getattr(trainer(default_root_dir=tmp_path, callbacks=[BatchSizeFinder(batch_arg_name=name)]), fn)(
            module(), datamodule=source
        )
    if fn == "validate":
        with pytest.raises(InputError, match=line):
            Tuner(trainer(default_root_dir=tmp_path)).scale_batch_size(
                module(), datamodule=source, method=fn, batch_arg_name=name
            )
    assert (source.batch_pairs, source.eval_batch_pairs) == (4, 2)


def test_a_size_that_is_set_is_that_of_the_next_loader(tmp_path):
    source = data(tmp_path)
    source.setup("fit")
    source.batch_pairs = 12
    assert len(source.train_dataloader()) == 2
    tokens = data(tmp_path, **TOKENS)
    tokens.setup("fit")
    longest = tokens.splits.longest()
    tokens.batch_tokens = 2
    assert tokens.batch_tokens == longest


@pytest.mark.parametrize(("name", "value"), [("batch_pairs", 0), ("batch_pairs", None), ("batch_tokens", 100)])
def test_a_size_that_cannot_be_is_refused(tmp_path, name, value):
    source = data(tmp_path)
    with pytest.raises(InputError, match=r"data.batch_"):
        setattr(source, name, value)
    assert source.batch_pairs == 4


@pytest.mark.parametrize("fn", ["validate", "test", "predict"])
def test_batch_size_finder_of_an_evaluation(tmp_path, fn):
    finder = BatchSizeFinder(batch_arg_name="eval_batch_pairs", max_trials=2, steps_per_trial=1)
    source = data(tmp_path, eval_batch_pairs=1)
    getattr(trainer(default_root_dir=tmp_path, callbacks=[finder]), fn)(module(), source)
    assert source.eval_batch_pairs == finder.optimal_batch_size == 4


@pytest.mark.parametrize(
    "finder", [BatchSizeFinder(batch_arg_name="batch_pairs"), LearningRateFinder()], ids=["size", "rate"]
)
def test_a_search_in_a_run_that_goes_on_is_refused(run, tmp_path, finder):
    run(max_epochs=1).trainer.save_checkpoint(tmp_path / "a.ckpt")
    with pytest.raises(InputError, match=r"Finder would search with the checkpoint's weights .*give .* it has found"):
        run(finder, ckpt_path=tmp_path / "a.ckpt")
