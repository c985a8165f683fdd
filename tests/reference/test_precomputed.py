"""Scored once, and read ever after: the same values, losses and random numbers as a reference that scores online."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from dpo_lightning import SFT, FrozenCopy, LoRA, Precomputed
from dpo_lightning.batch import collate_tree
from dpo_lightning.errors import InputError, RunError
from dpo_lightning.reference.cache.shards import check_shard
from dpo_lightning.reference.cache.table import ReferenceTable
from tests.helpers.runs import data, module, saved_model, trainer
from tests.helpers.tiny import tiny_llama
from tests.reference.cache.filling import (
    bound,
    fill,
    largest_difference,
    make_pairs,
    rows_on_disk,
    shards,
)
from tests.reference.common import policy_of, train

PAIRS = make_pairs(30)


class Losses(pl.Callback):
    """Of every training step."""

    def __init__(self) -> None:
        self.seen: list[float] = []
        self.logps: list[torch.Tensor] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.seen.append(outputs["loss"].item())
        self.logps.append(pl_module.reference.token_logps(batch).clone())


def fit(path: Path, reference: Any, policy: Any = None, source: Any = None, **settings: Any) -> tuple[Losses, float]:
    """The losses of a run and its validation loss."""
    losses = Losses()
    lora = settings.pop("lora", None)
    run = trainer(**{"max_steps": -1, "max_epochs": 2, "callbacks": [losses], **settings})
    learner = module(policy, reference=reference, lora=lora, lr=1e-2)
    run.fit(learner, data(path) if source is None else source)
    return losses, run.callback_metrics["val/loss"].item()


class TestRuns:
    @pytest.mark.parametrize("layout", ["tree", "padded"])
    @pytest.mark.parametrize("lora", [None, LoRA(r=2)], ids=["full", "lora"])
    def test_losses_are_those_of_an_online_reference(self, tmp_path, lora, layout):
        cache = tmp_path / "cache"
        online, online_val = fit(tmp_path, None, lora=lora, source=data(tmp_path, layout=layout))
        for _ in range(2):  # scored, then found
            cached, cached_val = fit(tmp_path, Precomputed(str(cache)), lora=lora, source=data(tmp_path, layout=layout))
            assert cached.seen == pytest.approx(online.seen, abs=1e-6)
            assert cached_val == pytest.approx(online_val, abs=1e-6)
        assert online.seen[0] > 2 * online.seen[-1]

    @pytest.mark.parametrize("precision", ["bf16-true", "bf16-mixed"])
    def test_bfloat16_does_not_round_what_was_scored(self, tmp_path, precision):
        losses, _ = fit(tmp_path, Precomputed(str(tmp_path / "cache")), precision=precision)
        online, _ = fit(tmp_path, None, precision=precision)

        on_disk = np.sort(np.concatenate([np.array(check_shard(path).values) for path in shards(tmp_path / "cache")]))
        seen = torch.cat(losses.logps)
        assert seen.dtype == torch.float32
        assert np.isin(seen.numpy(), on_disk).all()
        assert not torch.equal(seen, seen.bfloat16().float())
        assert losses.seen == pytest.approx(online.seen, abs=0.05)
        # Scored as it is trained: in the Trainer's precision.
        fit(tmp_path, Precomputed(str(tmp_path / "exact")))
        ours, exact = (ReferenceTable(shards(tmp_path / name)) for name in ("cache", "exact"))
        keys = np.sort(rows_on_disk(tmp_path / "exact"))
        assert 0.01 < largest_difference(ours.rows(keys), exact.rows(keys)) < 1

    def test_workers_bring_them_too(self, tmp_path):
        alone, _ = fit(tmp_path, Precomputed(str(tmp_path / "cache")))
        helped, _ = fit(tmp_path, Precomputed(str(tmp_path / "cache")), source=data(tmp_path, num_workers=2))
        assert helped.seen == alone.seen

    def test_order_and_dropout_of_a_run_are_those_of_an_online_reference(self, tmp_path):
        def losses(reference: Any) -> list[float]:
            pl.seed_everything(3, verbose=False)
            return fit(tmp_path, reference, lora=LoRA(r=2, dropout=0.5), num_sanity_val_steps=0)[0].seen

        cache = str(tmp_path / "cache")
        expected = losses(None)
        assert losses(Precomputed(cache)) == pytest.approx(expected, abs=1e-6)
        assert losses(Precomputed(cache)) == pytest.approx(expected, abs=1e-6)


class TestATrainedPolicy:
    def test_is_validated_against_the_reference_from_before(self, tmp_path):
        name, cache = saved_model(tmp_path / "model"), str(tmp_path / "cache")
        run = trainer(max_steps=3)
        learner = module(name, reference=Precomputed(cache), lr=1e-2)
        run.fit(learner, data(tmp_path))
        run.save_checkpoint(tmp_path / "trained.ckpt")
        count = len(rows_on_disk(tmp_path / "cache"))
        # New validation rows: the policy that knows them is gone, and comes back from its directory.
        for rows, split, grown in ((24, "train[16:]", 0), (31, "train", 7)):
            found, expected = (
                trainer().validate(
                    module(name, reference=reference), data(tmp_path, rows, val_split=split), tmp_path / "trained.ckpt"
                )[0]
                for reference in (Precomputed(cache), FrozenCopy())
            )
            assert found == pytest.approx(expected, abs=1e-5)
            assert abs(found["val/rewards/margins"]) > 0.01
            assert len(rows_on_disk(tmp_path / "cache")) == count + grown

    def test_given_as_a_module_cannot_be_had_again(self, tmp_path):
        learner = module(tiny_llama(), reference=Precomputed(str(tmp_path / "cache")), lr=1e-2)
        trainer(max_steps=3).fit(learner, data(tmp_path))
        trainer().validate(learner, data(tmp_path))
        with pytest.raises(InputError, match="rows are missing in the cache, and the policy, given as a module"):
            trainer().validate(learner, data(tmp_path, 40, val_split="train[:30]"))

    def test_resumed_reads_what_the_fresh_run_scored(self, tmp_path):
        cache, source = str(tmp_path / "cache"), saved_model(tmp_path / "model")
        whole, _ = fit(tmp_path, Precomputed(cache), source, max_epochs=2)
        first = module(source, reference=Precomputed(cache), lr=1e-2)
        run = trainer(max_steps=-1, max_epochs=1)
        run.fit(first, data(tmp_path))
        run.save_checkpoint(tmp_path / "half.ckpt")
        losses = Losses()
        resumed = module(source, reference=Precomputed(cache), lr=1e-2)
        trainer(max_steps=-1, max_epochs=2, callbacks=[losses]).fit(
            resumed, data(tmp_path), ckpt_path=tmp_path / "half.ckpt"
        )
        assert losses.seen == whole.seen[len(whole.seen) // 2 :]


class TestStepZero:
    def test_a_reference_that_is_not_the_policy_is_diagnosed(self, tmp_path):
        tiny_llama(seed=1).save_pretrained(tmp_path / "other")
        reference = Precomputed(str(tmp_path / "cache"), FrozenCopy(str(tmp_path / "other")))
        with pytest.raises(
            RunError, match=r"the policy has other weights or adapters than the cached reference '.*other'"
        ):
            trainer().fit(module(saved_model(tmp_path / "model"), reference=reference), data(tmp_path))

    def test_values_that_are_not_the_policys_are_diagnosed(self, tmp_path):
        policy = policy_of()
        reference = bound(policy, tmp_path)
        assert "the cached values are not theirs" in reference.diagnose()
        train(policy)
        assert "the policy has other weights" in reference.diagnose()


class TestOtherPipelines:
    @pytest.mark.parametrize("built", [False, True], ids=["as it comes", "built before"])
    def test_a_loader_of_ones_own(self, tmp_path, built):
        learner = module(reference=Precomputed(str(tmp_path)), lr=1e-2)
        if built:
            learner.configure_model()
        loader = DataLoader(PAIRS, batch_size=10, collate_fn=learner.with_reference(collate_tree, PAIRS))
        run = trainer(max_steps=-1, max_epochs=1)
        run.fit(learner, loader)
        assert run.global_step == 3
        assert len(rows_on_disk(tmp_path)) == len(PAIRS)

    def test_pairs_that_nobody_named(self, tmp_path):
        learner = module(reference=Precomputed(str(tmp_path)))
        loader = DataLoader(PAIRS, batch_size=10, collate_fn=learner.with_reference(collate_tree, PAIRS[:15]))
        with pytest.raises(InputError, match=r"the pair 15 was never scored: give all pairs"):
            trainer(max_steps=-1, max_epochs=1).fit(learner, loader)
        with pytest.raises(InputError, match="has no pairs to score"):
            trainer().fit(
                module(reference=Precomputed(str(tmp_path))), DataLoader(PAIRS, batch_size=10, collate_fn=collate_tree)
            )


class TestSettings:
    def test_a_budget_of_nothing(self):
        with pytest.raises(InputError, match="batch_tokens must be at least 1, got 0"):
            Precomputed(batch_tokens=0)

    def test_an_objective_without_reference_refuses_it(self):
        with pytest.raises(InputError, match="objective SFT has no reference"):
            module(objective=SFT(), reference=Precomputed())

    def test_the_default_place_is_shared_by_runs(self, tmp_path, monkeypatch):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        fill(Precomputed().bind(policy_of()), PAIRS)
        assert len(list((tmp_path / "dpo_lightning/reference").glob("*/*.shard"))) == 1

    def test_they_are_saved_and_restored(self, tmp_path):
        name = saved_model(tmp_path / "model")
        run = trainer(max_steps=1)
        wanted = Precomputed(str(tmp_path / "cache"), FrozenCopy(name), 512)
        run.fit(module(name, reference=wanted), data(tmp_path))
        run.save_checkpoint(tmp_path / "a.ckpt")
        assert type(run.lightning_module).load_from_checkpoint(tmp_path / "a.ckpt").reference_settings == wanted


@pytest.mark.parametrize("given", [True, "some/model"])
def test_a_source_that_is_no_reference_is_refused(given: Any) -> None:
    with pytest.raises(InputError, match=r"^Precomputed\.source: .* is no Reference: give a reference, or null"):
        Precomputed(source=given)
