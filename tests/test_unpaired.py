"""Objectives on single completions, from rows to a trained policy."""

from __future__ import annotations

import functools
import json
import math
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor
from torch.optim import SGD

from dpo_lightning import (
    KTO,
    FrozenCopy,
    LoRA,
    Precomputed,
    PreferenceDataModule,
    PreferenceModule,
    TokenizedExample,
    UnpairedBCO,
    UnpairedFormat,
)
from dpo_lightning.batch import sequence_order
from dpo_lightning.callbacks import Export, ResumableCheckpoint, SampleTable, UpdateGuard, WriteRewards
from dpo_lightning.cli.main import main
from dpo_lightning.errors import RunError
from dpo_lightning.logprobs import TokenLogps
from tests.data.formats.test_unpaired import data, labelled
from tests.helpers.alike import assert_same, assert_two_processes_are_one
from tests.helpers.brute import brute_token_logps
from tests.helpers.runs import Seen, saved_model, trainer
from tests.helpers.tiny import tiny_llama

OBJECTIVES = [KTO(desirable_weight=1.25), UnpairedBCO(beta=0.3)]
every_objective = pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda each: type(each).__name__)


def module(policy: Any = None, **settings: Any) -> PreferenceModule:
    settings = {"optimizer": functools.partial(SGD, lr=0.3), **settings}
    return PreferenceModule(tiny_llama() if policy is None else policy, **settings)


def sums(model: torch.nn.Module, pairs: list[TokenizedExample]) -> tuple[Tensor, Tensor]:
    """Summed log-probs of the completions, and of the mismatched ones, from a plain forward of each; float64."""
    found = torch.tensor([math.fsum(row) for row in brute_token_logps(model, pairs)], dtype=torch.float64)
    completions = sum(len(pair.completion_ids) for pair in pairs)
    return found[:completions], found[completions:]


def expected_loss(objective: Any, policy: Any, reference: Any, pairs: list[TokenizedExample]) -> float:
    """The papers' equations, in the plainest words."""
    ours, theirs = sums(policy, pairs), sums(reference, pairs)
    rewards = [objective.beta * value.item() for value in ours[0] - theirs[0]]
    labels = [bool(pairs[n].labels[k]) for n, k in sequence_order(pairs) if k < len(pairs[n].completion_ids)]
    if isinstance(objective, KTO):
        point = objective.beta * max(0.0, (ours[1] - theirs[1]).mean().item())
    else:
        means = [
            [reward for reward, label in zip(rewards, labels, strict=True) if label == which] for which in (True, False)
        ]
        point = sum(math.fsum(values) / len(values) for values in means) / 2
    losses = []
    for reward, label in zip(rewards, labels, strict=True):
        right = 1 / (1 + math.exp(-(reward - point if label else point - reward)))
        weight = getattr(objective, "desirable_weight" if label else "undesirable_weight", 1.0)
        losses.append(weight * (1 - right) if isinstance(objective, KTO) else -math.log(right))
    return math.fsum(losses) / len(losses)


@every_objective
@pytest.mark.parametrize("layout", ["tree", "padded"])
def test_the_first_loss_is_the_papers(tmp_path: Path, objective: Any, layout: Any) -> None:
    policy, reference = tiny_llama(seed=0), tiny_llama(seed=1)
    reference.save_pretrained(tmp_path / "reference")
    seen, found = Seen(), data(tmp_path, batch_pairs=32, layout=layout)
    frozen = FrozenCopy(str(tmp_path / "reference"))
    unchanged = tiny_llama(seed=0)

    trainer(max_steps=1, callbacks=[seen]).fit(
        module(policy, objective=objective, reference=frozen, step_zero_check=False), found
    )

    rows = found.examples_used("fit")[0]
    pairs = [rows[number] for number in range(24)]
    expected = expected_loss(objective, unchanged, reference, pairs)
    assert seen.losses == [pytest.approx(expected, rel=1e-5)]
    assert (seen.batches[0].mismatched == 0) == isinstance(objective, UnpairedBCO)


def trained(tmp_path: Path, objective: Any, **changes: Any) -> dict[str, Tensor]:
    """Weights after a few steps."""
    settings = {name: changes.pop(name) for name in ("reference", "lora") if name in changes}
    torch.manual_seed(0)
    fitted = module(objective=objective, **settings)
    found = data(tmp_path, val_split=0.25, length_grouped=False, **changes)
    trainer(max_steps=5).fit(fitted, found)
    return {name: value.detach().clone() for name, value in fitted.state_dict().items()}


@every_objective
def test_every_way_trains_the_same_policy(tmp_path: Path, objective: Any) -> None:
    expected = trained(tmp_path, objective, layout="tree")
    start_weights = {f"policy.{name}": value for name, value in tiny_llama().state_dict().items()}
    assert max((value - start_weights[name]).abs().max() for name, value in expected.items()) > 0.01

    assert_same(trained(tmp_path, objective, layout="padded"), expected)
    for layout in ("tree", "padded"):
        cached = Precomputed(str(tmp_path / "cache"))
        assert_same(trained(tmp_path, objective, layout=layout, reference=cached), expected)


def test_batches_by_tokens_and_lora(tmp_path: Path) -> None:
    found = data(tmp_path, batch_pairs=None, batch_tokens=120, layout="tree")
    seen = Seen()
    trainer(max_steps=4, callbacks=[seen]).fit(module(objective=KTO(), lora=LoRA(r=2)), found)

    assert all(batch.input_ids.numel() <= 120 for batch in seen.batches)
    assert seen.losses[0] == pytest.approx(0.5, abs=1e-5)


def test_micro_batches_share_the_step_as_pairs_do(tmp_path: Path) -> None:
    """Of BCO without a baseline that moves: the loss of the window is the mean over its completions."""
    fixed = UnpairedBCO(momentum=0.999999)
    accumulated = [
        pl_trained(tmp_path, fixed, batch_pairs=size, accumulate_grad_batches=windows)
        for size, windows in ((32, 1), (5, 7))
    ]
    assert_same(accumulated[1], accumulated[0], bound=1e-4)


def pl_trained(tmp_path: Path, objective: Any, *, batch_pairs: int, accumulate_grad_batches: int) -> dict[str, Tensor]:
    fitted = module(objective=objective)
    found = data(tmp_path, batch_pairs=batch_pairs, layout="padded")
    trainer(max_steps=1, accumulate_grad_batches=accumulate_grad_batches).fit(fitted, found)
    return fitted.state_dict()


@every_objective
def test_two_processes_are_one(tmp_path: Path, objective: Any) -> None:
    assert_two_processes_are_one(tmp_path, objective, UnpairedFormat(), val_check_interval=5)


# What stands around the training


def test_a_checkpoint_brings_the_running_mean(tmp_path: Path) -> None:
    fitted, found = module(objective=UnpairedBCO(beta=1.0)), data(tmp_path, val_split=0.25)
    saver = ResumableCheckpoint(str(tmp_path / "checkpoints"), every_n_train_steps=3)
    run = trainer(max_steps=3, callbacks=[saver], enable_checkpointing=True)
    run.fit(fitted, found)
    delta = fitted.running_mean.means.mean().item()  # of both labels
    (path,) = (tmp_path / "checkpoints").glob("*.ckpt")

    fresh = module(objective=UnpairedBCO(beta=1.0))
    (validated,) = trainer().validate(fresh, data(tmp_path, val_split=0.25), ckpt_path=str(path), verbose=False)
    loaded = PreferenceModule.load_from_checkpoint(path, policy=tiny_llama())

    assert abs(delta) > 1e-3
    assert validated["val/rewards/reference_point"] == pytest.approx(delta, rel=1e-6)
    for restored in (fresh, loaded):
        assert restored.running_mean.means.equal(fitted.running_mean.means)
        assert restored.running_mean.seen.tolist() == [1, 1]
    # A fit from the beginning begins anew.
    trainer(max_steps=0).fit(loaded, data(tmp_path))
    assert loaded.running_mean.seen.tolist() == [0, 0]


def test_before_training_nothing_moves_the_running_mean(tmp_path: Path) -> None:
    fitted = module(objective=UnpairedBCO())
    trainer(max_steps=0).fit(fitted, data(tmp_path, val_split=0.25))
    trainer().validate(fitted, data(tmp_path, val_split=0.25), verbose=False)

    assert fitted.running_mean.seen.tolist() == [0, 0]


@every_objective
def test_a_policy_that_is_not_its_reference_is_noticed(tmp_path: Path, objective: Any) -> None:
    tiny_llama(seed=1).save_pretrained(tmp_path / "other")
    fitted = module(saved_model(tmp_path / "model"), objective=objective, reference=FrozenCopy(str(tmp_path / "other")))

    with pytest.raises(RunError, match="before step 0 the policy is not its reference: loss"):
        trainer().fit(fitted, data(tmp_path))


class Poison(pl.Callback):
    """Makes the policy's log-probs of the second micro-batch no numbers."""

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        score = vars(pl_module).setdefault("_whole_scorer", pl_module.models.scorer)

        def poisoned(*asked: Any) -> TokenLogps:
            scored = score(*asked)
            return scored._replace(logps=scored.logps * math.nan)

        pl_module.models.scorer = poisoned if batch_idx == 1 else score


def test_a_skipped_step_leaves_the_running_mean_alone(tmp_path: Path) -> None:
    fitted = module(objective=UnpairedBCO())
    guard = UpdateGuard(skips=1)
    with pytest.warns(UserWarning, match="skipped, 1 of at most 1"):
        trainer(max_steps=4, callbacks=[guard, Poison()]).fit(fitted, data(tmp_path))

    assert fitted.running_mean.means.isfinite().all()
    assert fitted.running_mean.seen.tolist() == [1, 1]


def test_predictions_samples_and_export(tmp_path: Path) -> None:
    policy = saved_model(tmp_path / "model")
    fitted, found = module(policy, objective=KTO()), data(tmp_path, val_split=0.25)
    table = SampleTable(str(tmp_path / "samples.md"), prompts=2, samples_per_prompt=1, max_new_tokens=4)
    trainer(max_steps=2, callbacks=[table, Export(str(tmp_path / "export"))]).fit(fitted, found)
    writer = WriteRewards(str(tmp_path / "rewards.jsonl"))
    batches = trainer(callbacks=[writer]).predict(fitted, found)

    rows = [json.loads(line) for line in (tmp_path / "rewards.jsonl").read_text().splitlines()]
    assert [*rows[0]] == ["pair_id", "reward", "desirable"]
    pairs = found.examples_used("validate")[0]
    assert sorted((row["pair_id"], row["desirable"]) for row in rows) == sorted(
        (pairs[number].row, label) for number in range(6) for label in pairs[number].labels
    )
    assert len(rows) == 8
    assert [row["reward"] for row in rows] == [value for batch in batches for value in batch["reward"].tolist()]
    assert (tmp_path / "samples.md").read_text().count("## ") == 2
    assert (tmp_path / "export/model.safetensors").is_file()


def test_the_command_takes_it_by_class_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = saved_model(tmp_path / "model")
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in labelled(24)))
    config = {
        "model": {"policy": model, "objective": {"class_path": "KTO", "init_args": {"desirable_weight": 1.5}}},
        "data": {
            "dataset": str(source),
            "val_split": 0.25,
            "format": {"class_path": "UnpairedFormat", "init_args": {"prompt_template": "Q {prompt}"}},
        },
        "trainer": {"max_steps": 1, "accelerator": "cpu", "logger": False, "enable_checkpointing": False},
    }
    (tmp_path / "run.yaml").write_text(json.dumps(config))
    monkeypatch.chdir(tmp_path)
    fits: list[tuple[Any, Any]] = []
    fit = functools.wraps(pl.Trainer.fit)(lambda _, model, datamodule, **__: fits.append((model, datamodule)))
    monkeypatch.setattr(pl.Trainer, "fit", fit)
    monkeypatch.setattr("sys.argv", ["dpo-lightning"])

    main(["fit", "--config", "run.yaml"])

    ((fitted, found),) = fits
    assert fitted.objective == KTO(desirable_weight=1.5)
    assert found.format == UnpairedFormat(prompt_template="Q {prompt}")
    assert isinstance(found, PreferenceDataModule)
