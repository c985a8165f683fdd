"""Scored once, and read ever after: the same values, losses and random numbers as a reference that scores online."""

from __future__ import annotations

import logging
import random
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.utils.data import DataLoader

from dpo_lightning import SFT, AdapterOff, FrozenCopy, LoRA, Precomputed, PreferenceDataModule
from dpo_lightning.batch import collate_padded, collate_tree
from dpo_lightning.callbacks import ReferenceCache
from dpo_lightning.data.content_hash import index_pairs
from dpo_lightning.errors import InputError, RunError
from dpo_lightning.policy.prepare import PolicyOptions, build_policy
from dpo_lightning.reference import FrozenAdapter, NoReference
from dpo_lightning.reference.cache import scoring
from dpo_lightning.reference.cache.shards import check_shard, write_shard
from dpo_lightning.reference.cache.table import ReferenceTable
from tests.helpers.runs import data, module, saved_model, trainer
from tests.helpers.tiny import tiny_llama, tiny_tokenizer
from tests.reference.common import policy_of, train
from tests.reference.filling import (
    bound,
    brute_values,
    fill,
    largest_difference,
    make_pairs,
    rows_on_disk,
    shards,
    values,
)

PAIRS = make_pairs(30)


def trained_adapter() -> nn.Module:
    return get_peft_model(tiny_llama(), LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))


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


class TestValues:
    def test_of_the_policy_equal_brute_force(self, tmp_path):
        table = fill(bound(policy_of(), tmp_path), PAIRS)

        assert largest_difference(values(table, PAIRS), brute_values(tiny_llama().eval(), PAIRS)) < 1e-5
        assert values(table, PAIRS)[0].dtype == np.float32

    def test_of_the_base_under_an_adapter(self, tmp_path):
        policy = policy_of(tiny_llama(), LoRA(r=2, init_lora_weights=False))
        reference = bound(policy, tmp_path, source=AdapterOff())
        train(policy)

        table = fill(reference, PAIRS)

        assert largest_difference(values(table, PAIRS), brute_values(tiny_llama().eval(), PAIRS)) < 1e-5

    def test_of_a_trained_adapter(self, tmp_path):
        policy = policy_of(trained_adapter())
        expected = brute_values(policy.eval(), PAIRS)
        reference = bound(policy.train(), tmp_path, source=FrozenAdapter())
        train(policy)

        table = fill(reference, PAIRS)

        assert largest_difference(values(table, PAIRS), expected) < 1e-5
        assert largest_difference(brute_values(policy.eval(), PAIRS), expected) > 0.01

    def test_of_another_checkpoint_which_is_freed(self, tmp_path):
        other = saved_model(tmp_path / "other", hidden_size=16)
        reference = bound(policy_of(), tmp_path / "cache", source=FrozenCopy(other))
        assert len(reference.own_models()) == 1

        table = fill(reference, PAIRS)

        expected = brute_values(tiny_llama(hidden_size=16).eval(), PAIRS)
        assert largest_difference(values(table, PAIRS), expected) < 1e-5
        assert reference.own_models() == []
        # What is missing later is scored by the same checkpoint, loaded once more.
        more = make_pairs(3, seed=5)
        assert (
            largest_difference(
                values(fill(reference, more), more), brute_values(tiny_llama(hidden_size=16).eval(), more)
            )
            < 1e-5
        )

    def test_no_copy_of_the_policy_is_made(self, tmp_path):
        policy = policy_of()
        reference = bound(policy, tmp_path)
        loaded = reference._source._policy
        assert loaded[0] is policy
        assert reference.own_models() == []

    def test_dropout_is_off_while_scoring_and_on_again_afterwards(self, tmp_path):
        source = tiny_llama(attention_dropout=0.5)
        policy = build_policy(source, torch.float32, PolicyOptions(dropout=True))
        table = fill(bound(policy, tmp_path), PAIRS)
        assert all(part.training for part in policy.modules())
        assert largest_difference(values(table, PAIRS), brute_values(tiny_llama().eval(), PAIRS)) < 1e-5

    def test_a_model_that_no_tree_fits_is_scored_padded(self, tmp_path, monkeypatch):
        monkeypatch.setattr(scoring, "tree_problem", lambda model: "not this one")
        monkeypatch.setattr(scoring, "collate_tree", None)

        table = fill(bound(policy_of(), tmp_path), PAIRS)

        assert largest_difference(values(table, PAIRS), brute_values(tiny_llama().eval(), PAIRS)) < 1e-5

    def test_a_value_that_is_no_number_is_not_kept(self, tmp_path):
        policy = tiny_llama()
        policy.get_input_embeddings().weight.data[PAIRS[9].chosen_ids[0]] = torch.nan
        with pytest.raises(RunError, match=r"a log-prob of pair \d+ is no finite number"):
            fill(bound(policy_of(policy), tmp_path), PAIRS)
        assert shards(tmp_path) == []


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

    def test_values_reach_their_own_tokens_in_both_layouts(self, tmp_path):
        table = fill(reference := bound(policy_of(), tmp_path), PAIRS)
        some = [PAIRS[7], PAIRS[2], PAIRS[11]]
        for collate in (collate_tree, collate_padded):
            found = reference.token_logps(reference.collate(collate)(some))
            expected = values(table, some)
            chosen = [row[: len(pair.chosen_ids)] for pair, row in zip(some, expected, strict=True)]
            rejected = [row[len(pair.chosen_ids) :] for pair, row in zip(some, expected, strict=True)]
            assert torch.equal(found, torch.tensor(np.concatenate(chosen + rejected)))

    def test_workers_bring_them_too(self, tmp_path):
        alone, _ = fit(tmp_path, Precomputed(str(tmp_path / "cache")))
        helped, _ = fit(tmp_path, Precomputed(str(tmp_path / "cache")), source=data(tmp_path, num_workers=2))
        assert helped.seen == alone.seen

    def test_the_random_state_is_left_alone(self, tmp_path):
        reference = bound(policy_of(tiny_llama(attention_dropout=0.5)), tmp_path)

        def draws() -> tuple[Any, ...]:
            return random.random(), np.random.rand(), torch.rand(1).item()

        def seed() -> None:
            pl.seed_everything(1, verbose=False)

        seed()
        expected = draws()
        seed()
        fill(reference, PAIRS)
        assert draws() == expected

        policy = reference._source._policy[0]
        train(policy)
        seed()
        fill(reference, make_pairs(3, seed=9), rebuild=lambda: policy_of(tiny_llama()))
        assert draws() == expected

    def test_order_and_dropout_of_a_run_are_those_of_an_online_reference(self, tmp_path):
        def losses(reference: Any) -> list[float]:
            pl.seed_everything(3, verbose=False)
            return fit(tmp_path, reference, lora=LoRA(r=2, dropout=0.5), num_sanity_val_steps=0)[0].seen

        cache = str(tmp_path / "cache")
        expected = losses(None)
        assert losses(Precomputed(cache)) == pytest.approx(expected, abs=1e-6)
        assert losses(Precomputed(cache)) == pytest.approx(expected, abs=1e-6)


class TestWhatIsFound:
    def test_rows_in_another_order_and_fewer_of_them(self, tmp_path, forwards):
        policy = policy_of()
        fill(bound(policy, tmp_path), PAIRS)
        before = shards(tmp_path)

        table = fill(bound(policy, tmp_path), PAIRS[20:5:-1])

        assert shards(tmp_path) == before
        assert largest_difference(values(table, PAIRS[6:9]), brute_values(tiny_llama().eval(), PAIRS[6:9])) < 1e-5

    def test_only_new_rows_are_scored_and_each_once(self, tmp_path, forwards):
        policy = policy_of()
        fill(bound(policy, tmp_path), PAIRS)
        forwards.clear()

        renumbered = [pair._replace(pair_id=99) for pair in PAIRS]
        new = make_pairs(3, seed=4)
        fill(bound(policy, tmp_path), [*renumbered, *new, *new])

        assert sum(forwards) == 4 + 3  # a few are scored anew, to check
        rows = rows_on_disk(tmp_path)
        assert len(rows) == len(np.unique(rows)) == len(PAIRS) + 3

    def test_a_run_with_other_settings_scores_nothing(self, tmp_path, monkeypatch):
        cache = str(tmp_path / "cache")
        fit(tmp_path, Precomputed(cache))
        before = shards(tmp_path / "cache")
        monkeypatch.setattr(scoring, "write_shard", None)
        other = data(tmp_path, val_split="train[4:20]", batch_pairs=3, seed=5, layout="padded")
        fit(tmp_path, Precomputed(cache, batch_tokens=50), source=other, accumulate_grad_batches=2)
        assert shards(tmp_path / "cache") == before

    def test_full_and_lora_share_the_values_of_the_base(self, tmp_path):
        fill(bound(policy_of(tiny_llama()), tmp_path), PAIRS)
        before = shards(tmp_path)
        policy = policy_of(tiny_llama(), LoRA(r=2, modules_to_save=["lm_head"], target_modules=["q_proj"]))
        fill(bound(policy, tmp_path, source=AdapterOff()), PAIRS)
        assert shards(tmp_path) == before

    @pytest.mark.parametrize(
        ("policy", "run", "said"),
        [
            ({"seed": 1}, {}, "what is cached under 1 other keys has other weights"),
            ({"rope_theta": 500.0}, {}, "has other weights"),
            (
                {},
                {"precision": "bf16-mixed"},
                "the same weights were scored in precision 32-true instead of bf16-mixed",
            ),
        ],
        ids=["weights", "settings", "precision"],
    )
    def test_it_misses_loudly(self, tmp_path, caplog, policy, run, said):
        fill(bound(policy_of(tiny_llama()), tmp_path), PAIRS)
        with caplog.at_level(logging.INFO):
            fill(bound(policy_of(tiny_llama(**policy)), tmp_path), PAIRS, **run)
        line = caplog.messages[-1]
        assert "0 of 30 different rows are there, 30 are scored now" in line
        assert said in line
        assert len(rows_on_disk(tmp_path)) == 60

    def test_values_that_are_not_the_references_stop_the_run(self, tmp_path):
        policy = policy_of()
        reference = bound(policy, tmp_path)
        table = fill(reference, PAIRS)
        wrong = [row + 0.5 for row in values(table, PAIRS)]
        directory = shards(tmp_path)[0].parent
        shards(tmp_path)[0].unlink()
        write_shard(directory, index_pairs(PAIRS).keys, wrong)

        with pytest.raises(
            RunError, match=r"does not hold this reference's values: token \d of pair \d+ is .*prune --key"
        ):
            fill(bound(policy, tmp_path), PAIRS)

    @pytest.mark.parametrize("damage", ["flipped", "cut", "empty"])
    def test_a_corrupt_shard_is_named_and_its_rows_are_scored_again(self, tmp_path, damage):
        policy = policy_of()
        fill(bound(policy, tmp_path), PAIRS[:10])
        broken = shards(tmp_path)[0]
        fill(bound(policy, tmp_path), PAIRS)
        content = bytearray(broken.read_bytes())
        content[-40] ^= 1
        broken.write_bytes({"flipped": content, "cut": content[:-100], "empty": b""}[damage])

        with pytest.warns(UserWarning, match=rf"{broken.name} is corrupt .*its rows are scored again"):
            table = fill(bound(policy, tmp_path), PAIRS)

        assert largest_difference(values(table, PAIRS), brute_values(tiny_llama().eval(), PAIRS)) < 1e-5
        # The same rows make the same shard, which takes the place of the broken one.
        assert len(rows_on_disk(tmp_path)) == len(PAIRS)


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

    def test_whose_directory_has_changed_is_noticed(self, tmp_path):
        reference = bound(policy := policy_of(), tmp_path)
        train(policy)
        with pytest.raises(InputError, match="the policy loaded again is not the one that the run began with"):
            fill(reference, PAIRS, rebuild=lambda: policy_of(tiny_llama(seed=3)))

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
        assert "the cached values are not theirs" in reference.diagnose(policy)
        train(policy)
        assert "the policy has other weights" in reference.diagnose(policy)


class TestOtherPipelines:
    def test_a_loader_of_ones_own(self, tmp_path):
        reference = Precomputed(str(tmp_path))
        learner = module(reference=reference, lr=1e-2)
        loader = DataLoader(PAIRS, batch_size=10, collate_fn=reference.collate(collate_tree, PAIRS))
        run = trainer(max_steps=-1, max_epochs=1)
        run.fit(learner, loader)
        assert run.global_step == 3
        assert len(rows_on_disk(tmp_path)) == len(PAIRS)

    def test_pairs_that_nobody_named(self, tmp_path):
        reference = Precomputed(str(tmp_path))
        learner = module(reference=reference)
        loader = DataLoader(PAIRS, batch_size=10, collate_fn=reference.collate(collate_tree, PAIRS[:15]))
        with pytest.raises(InputError, match=r"the pair 15 was never scored: give all pairs"):
            trainer(max_steps=-1, max_epochs=1).fit(learner, loader)
        with pytest.raises(InputError, match="has no pairs to score"):
            trainer().fit(
                module(reference=Precomputed(str(tmp_path))), DataLoader(PAIRS, batch_size=10, collate_fn=collate_tree)
            )

    def test_batches_without_values(self, tmp_path):
        reference = bound(policy_of(), tmp_path)
        with pytest.raises(InputError, match="the batch brings no values: make it with the collate function"):
            reference.token_logps(collate_tree(PAIRS[:2]))
        with pytest.raises(InputError, match="a batch is asked for before the Trainer has scored its pairs"):
            reference.collate(collate_tree)(PAIRS[:2])


class TestSettings:
    def test_a_budget_of_nothing(self):
        with pytest.raises(InputError, match="batch_tokens must be at least 1, got 0"):
            Precomputed(batch_tokens=0)

    def test_a_source_that_cannot_be_hashed(self, tmp_path):
        with pytest.raises(InputError, match="NoReference cannot be precomputed: use FrozenCopy"):
            Precomputed(str(tmp_path), source=NoReference()).bind(policy_of())

    def test_an_objective_without_reference_refuses_it(self):
        with pytest.raises(InputError, match="objective SFT has no reference"):
            module(objective=SFT(), reference=Precomputed())

    def test_the_default_place_is_shared_by_runs(self, tmp_path, monkeypatch):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        reference = Precomputed()
        reference.bind(policy_of())
        fill(reference, PAIRS)
        assert len(list((tmp_path / "dpo_lightning/reference").glob("*/*.shard"))) == 1

    def test_they_are_saved_and_restored(self, tmp_path):
        name = saved_model(tmp_path / "model")
        run = trainer(max_steps=1)
        wanted = Precomputed(str(tmp_path / "cache"), FrozenCopy(name), 512)
        run.fit(module(name, reference=wanted), data(tmp_path))
        run.save_checkpoint(tmp_path / "a.ckpt")
        assert type(run.lightning_module).load_from_checkpoint(tmp_path / "a.ckpt").reference == wanted

    def test_it_brings_its_callback_and_others_do_not(self, tmp_path):
        for reference, expected in ((Precomputed(str(tmp_path)), 1), (None, 0)):
            run = trainer(max_steps=1)
            run.fit(module(reference=reference), data(tmp_path))
            assert sum(isinstance(callback, ReferenceCache) for callback in run.callbacks) == expected

    def test_the_pairs_that_each_command_reads(self, tmp_path):
        source = data(tmp_path, train_split="train[:5]", val_split="train[5:8]", test_split="train[8:12]")
        source.prepare_data()
        read = {fn: list(map(len, source.pairs_used(fn))) for fn in ("fit", "validate", "test", "predict")}
        assert read == {"fit": [5, 3], "validate": [3], "test": [4], "predict": [4]}
        without = PreferenceDataModule(source.dataset, tiny_tokenizer())
        without.prepare_data()
        assert list(map(len, without.pairs_used("fit"))) == [24]

    def test_test_and_predict(self, tmp_path):
        cache, name = tmp_path / "cache", saved_model(tmp_path / "model")
        source = {"test_split": "train[:6]"}
        for command in ("test", "predict"):
            found, expected = (
                getattr(trainer(), command)(module(name, reference=reference), data(tmp_path, **source))
                for reference in (Precomputed(str(cache)), FrozenCopy())
            )
            if command == "test":
                assert found[0] == pytest.approx(expected[0], abs=1e-5)
            else:
                assert torch.allclose(found[0]["margin"], expected[0]["margin"], atol=1e-5)
        assert len(rows_on_disk(cache)) == 6


class TestScoring:
    @pytest.mark.parametrize("is_tree", [True, False])
    def test_batches_keep_to_their_budget(self, tmp_path, monkeypatch, is_tree):
        if not is_tree:
            monkeypatch.setattr(scoring, "tree_problem", lambda model: "not this one")
        name = "collate_tree" if is_tree else "collate_padded"
        sizes, collate = [], getattr(scoring, name)

        def watched(pairs: Any) -> Any:
            batch = collate(pairs)
            sizes.append((batch.input_ids.numel(), len(pairs)))
            return batch

        monkeypatch.setattr(scoring, name, watched)
        fill(bound(policy_of(), tmp_path, batch_tokens=60), PAIRS)

        assert sum(pairs for _, pairs in sizes) == len(PAIRS)
        assert max(tokens for tokens, _ in sizes) <= 60
        # Filled: two batches that follow each other would not fit into one.
        assert len(sizes) <= 2 * sum(tokens for tokens, _ in sizes) / 60 + 1

    def test_a_pair_larger_than_the_budget_is_scored_alone(self, tmp_path, forwards):
        fill(bound(policy_of(), tmp_path, batch_tokens=1), PAIRS[:5])
        assert forwards == [1] * 5

    def test_a_bar_is_shown_where_the_trainer_has_one(self, tmp_path, capsys):
        fill(bound(policy_of(), tmp_path), PAIRS, progress=True)
        assert "scoring the reference" in (shown := capsys.readouterr().out)
        assert "30/30" in shown
        fill(bound(policy_of(), tmp_path), make_pairs(3, seed=2))
        assert capsys.readouterr().out == ""


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Pairs of each batch that was scored."""
    seen: list[int] = []
    score = scoring.Scorer.__call__

    def watched(self: Any, pairs: Any) -> Any:
        if len(pairs):
            seen.append(len(pairs))
        return score(self, pairs)

    monkeypatch.setattr(scoring.Scorer, "__call__", watched)
    return seen
