"""References that follow the policy: against loops by hand over the weights of every step, and resumed."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from dpo_lightning import SFT, FrozenAdapter, FrozenCopy, LoRA, Precomputed, PreferenceModule
from dpo_lightning.callbacks import BEMAReference, EMAReference, TrustRegionReference, UpdateGuard
from dpo_lightning.cli.main import main
from dpo_lightning.errors import InputError
from dpo_lightning.reference import NoReference
from tests.callbacks.moving import (
    MODELS,
    RULES,
    STEPS,
    Trail,
    Weights,
    distance,
    fit,
    mixed,
    model,
)
from tests.helpers.runs import data, module, saved_model, trainer, write_rows
from tests.helpers.tiny import tiny_llama


@pytest.mark.parametrize(
    ("kind", "rule"),
    [("full", rule) for rule in RULES]
    + [("lora", rule) for rule in RULES]
    + [(kind, "soft") for kind in MODELS if kind not in ("full", "lora")],
)
def test_it_is_its_equation(tmp_path, kind, rule):
    make, by_hand = RULES[rule]
    run = model(kind)
    trail = fit(tmp_path, run, make(), precision="64-true")
    assert len(trail.policy) == STEPS + 1
    for step in range(STEPS + 1):
        expected = by_hand(trail.reference[0], trail.policy[: step + 1])
        assert distance(trail.reference[step], expected) < 1e-12, step
    assert distance(trail.reference[0], trail.reference[-1]) > 1e-3
    assert distance(trail.reference[-1], trail.policy[-1]) > 1e-3


@pytest.mark.parametrize("kind", MODELS)
def test_after_a_hard_update_policy_and_reference_agree(tmp_path, kind):
    trail = fit(tmp_path, model(kind), TrustRegionReference(alpha=1.0, every=2))
    at_log_2 = [abs(loss - math.log(2)) < 1e-5 for loss in trail.losses]
    assert at_log_2 == [True, False, True, False, True, False, True]
    assert trail.reference[2].keys() == trail.policy[2].keys()
    assert all(torch.equal(value, trail.policy[2][name]) for name, value in trail.reference[2].items())


def test_the_defaults():
    assert vars(TrustRegionReference()).items() >= {"alpha": 0.6, "every": 512}.items()
    bema = {"every": 400, "ema_power": 0.5, "bias_power": 0.2, "multiplier": 1.0, "lag": 10.0}
    assert vars(BEMAReference()).items() >= bema.items()


def test_a_run_that_ends_before_the_first_move_is_told(tmp_path):
    with pytest.warns(UserWarning, match=r"moves the reference every 512 steps, and the run has 2: it stays"):
        fit(tmp_path, model(), TrustRegionReference(), max_steps=2)


def test_an_average_of_factors_differs_from_that_of_the_products_by_the_product_of_the_changes(tmp_path):
    trail = fit(tmp_path, model("lora"), TrustRegionReference(alpha=0.3, every=4), precision="64-true")
    found = 0.0
    for name, before in trail.reference[3].items():
        if "lora_A" not in name:
            continue
        other = name.replace("lora_A", "lora_B")
        policy, after = trail.policy[4], trail.reference[4]
        mixed_products = 0.3 * policy[other] @ policy[name] + 0.7 * trail.reference[3][other] @ before
        change = (policy[other] - trail.reference[3][other]) @ (policy[name] - before)
        torch.testing.assert_close(after[other] @ after[name], mixed_products - 0.21 * change)
        found = max(found, change.abs().max().item())
    assert found > 1e-4


def test_micro_batches_are_no_steps(tmp_path):
    trail = fit(tmp_path, model(), RULES["soft"][0](), precision="64-true", accumulate_grad_batches=2)
    assert len(trail.losses) == 2 * STEPS
    assert distance(trail.reference[-1], mixed(0.3, 2)(trail.reference[0], trail.policy)) < 1e-12


def test_skipped_steps_are_no_steps(tmp_path):
    class Bad(PreferenceModule):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return super().training_step(batch, batch_idx) * (math.nan if self.global_step in (1, 3) else 1.0)

    run = Bad(tiny_llama(), optimizer=lambda params: torch.optim.AdamW(params, lr=1e-2))
    with pytest.warns(UserWarning, match="skipped"):
        trail = fit(tmp_path, run, RULES["bema"][0](), UpdateGuard(skips=2), precision="64-true")
    made = [weights for step, weights in enumerate(trail.policy) if step not in (2, 4)]
    assert len(made) == STEPS - 1
    assert distance(trail.reference[-1], RULES["bema"][1](trail.reference[0], made)) < 1e-12


@pytest.mark.parametrize(("kind", "rule"), [("full", "ema"), ("full", "soft"), ("full", "bema"), ("lora", "ema")])
def test_bfloat16_weights_have_a_float32_average(tmp_path, rule, kind):
    make, by_hand = (lambda: EMAReference(0.99), mixed(1 - 0.99, 1)) if rule == "ema" else RULES[rule]
    run = model(kind, lr=1e-3)
    trail = fit(tmp_path, run, make(), precision="bf16-true", max_steps=12)
    expected, found = by_hand(trail.reference[0], trail.policy), trail.reference[-1]
    off = {n: (value - expected[n]).abs() / expected[n].abs().clamp_min(1e-3) for n, value in found.items()}
    assert max(value.max().item() for value in off.values()) < 2**-8
    assert {value.dtype for value in run.policy.parameters()} == {torch.bfloat16}


def test_what_the_float32_is_for(tmp_path):
    """A reference that was averaged in bfloat16 would stay where it is, for small steps of the policy."""
    trail = fit(tmp_path, model(lr=3e-4), EMAReference(0.99), precision="bf16-true", max_steps=12)
    rounded = trail.reference[0]
    for policy in trail.policy[1:]:
        rounded = {name: (0.99 * v + 0.01 * policy[name]).bfloat16().double() for name, v in rounded.items()}
    exact = mixed(1 - 0.99, 1)(trail.reference[0], trail.policy)

    def error(weights: Weights) -> float:
        return sum((value - exact[name]).abs().sum().item() for name, value in weights.items())

    assert error(trail.reference[-1]) < 0.7 * error(rounded)


def test_adapters_start_as_the_base_weights(tmp_path):
    run = model("lora")
    trail = fit(tmp_path, run, EMAReference(0.5), max_steps=1)
    assert trail.losses == [pytest.approx(math.log(2), abs=1e-6)]
    assert all(value.abs().max() == 0 for name, value in trail.reference[0].items() if "lora_B" in name)


@pytest.mark.parametrize("rule", ["hard", "bema"])
def test_another_checkpoint_as_reference_follows_too(tmp_path, rule):
    tiny_llama(seed=5).save_pretrained(tmp_path / "other")
    run = model(reference=FrozenCopy(str(tmp_path / "other")), step_zero_check=False)
    trail = fit(tmp_path, run, RULES[rule][0](), precision="64-true")
    assert distance(trail.reference[0], trail.policy[0]) > 0.1
    assert distance(trail.reference[-1], RULES[rule][1](trail.reference[0], trail.policy)) < 1e-12


def test_frozen_weights_of_another_checkpoint_follow_too(tmp_path):
    tiny_llama(seed=5).save_pretrained(tmp_path / "other")
    run = model("partly frozen", reference=FrozenCopy(str(tmp_path / "other")), step_zero_check=False)
    trail = fit(tmp_path, run, TrustRegionReference(alpha=1.0, every=1))
    assert trail.losses[1:] == pytest.approx([math.log(2)] * (STEPS - 1), abs=1e-5)


class TestRefusals:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"lora": LoRA(r=2)}, "AdapterOff is the base weights.*set model.reference to FrozenAdapter"),
            ({"reference": Precomputed()}, "Precomputed is scored once.*use FrozenCopy, or FrozenAdapter"),
            ({"reference": NoReference()}, "EMAReference: the run compares with no reference: leave the callback out"),
            ({"objective": SFT()}, "EMAReference: the run compares with no reference: leave the callback out"),
            ({"reference": "other"}, "other' is another model than the policy.*leave checkpoint out"),
            ({"reference": "base", "lora": LoRA(r=2)}, "base' is another model than the policy"),
        ],
    )
    def test_references_that_cannot_follow(self, tmp_path, monkeypatch, settings, message):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        tiny_llama().save_pretrained(tmp_path / "base")
        tiny_llama(intermediate_size=32).save_pretrained(tmp_path / "other")
        if isinstance(settings.get("reference"), str):
            settings = {**settings, "reference": FrozenCopy(str(tmp_path / settings["reference"]))}
        with pytest.raises(InputError, match=message) as refused:
            fit(tmp_path, module(**settings), EMAReference())
        assert "\n" not in str(refused.value)
        assert not (tmp_path / "cache").exists()  # before anything was scored

    def test_a_quantized_copy(self, tmp_path):
        pytest.importorskip("bitsandbytes")
        tiny_llama(hidden_size=64, intermediate_size=64).save_pretrained(tmp_path)
        quantized = {"load_in_4bit": True}
        run = module(str(tmp_path), lora=LoRA(r=2), quantization_config=quantized, reference=FrozenCopy(str(tmp_path)))
        with pytest.raises(InputError, match="is another model than the policy"):
            fit(tmp_path, run, EMAReference())

    def test_two_of_them(self, tmp_path):
        with pytest.raises(InputError, match="EMAReference and BEMAReference would both move the reference"):
            fit(tmp_path, module(), EMAReference(), BEMAReference())

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: TrustRegionReference(every=0), "TrustRegionReference.every must be at least 1"),
            (lambda: TrustRegionReference(alpha=0), r"alpha must be in \(0, 1\], got 0"),
            (lambda: TrustRegionReference(alpha=1.1), r"alpha must be in \(0, 1\]"),
            (lambda: EMAReference(decay=1), r"decay must be in \(0, 1\)"),
            (lambda: EMAReference(decay=0), r"decay must be in \(0, 1\)"),
            (lambda: BEMAReference(bias_power=-1), "BEMAReference.bias_power must be a finite number of at least 0"),
            (lambda: BEMAReference(every=1, lag=0, multiplier=0.5), "at least 1, got"),
        ],
    )
    def test_settings(self, make, message):
        with pytest.raises(InputError, match=message):
            make()


def test_quantized_base_weights_are_shared_and_their_adapter_moves(tmp_path):
    pytest.importorskip("bitsandbytes")
    tiny_llama(hidden_size=64, intermediate_size=64).save_pretrained(tmp_path)
    run = module(
        str(tmp_path), 1e-2, lora=LoRA(r=2), quantization_config={"load_in_4bit": True}, reference=FrozenAdapter()
    )
    trail = fit(tmp_path, run, TrustRegionReference(alpha=1.0, every=1), max_steps=3)
    assert trail.losses == pytest.approx([math.log(2)] * 3, abs=1e-4)


@pytest.mark.parametrize(
    ("kind", "rule", "precision"),
    [
        ("full", "soft", "32-true"),
        ("full", "bema", "32-true"),
        ("lora", "hard", "32-true"),
        ("lora", "bema", "32-true"),
        ("full", "soft", "bf16-true"),
        ("lora", "ema", "bf16-true"),
        ("full", "bema", "bf16-true"),
    ],
)
def test_a_resumed_run_goes_on_bit_for_bit(tmp_path, kind, rule, precision):
    """From each checkpoint: after moves and between them, and before the first."""

    def run(ckpt_path: Path | None = None) -> tuple[Trail, dict[str, Any]]:
        callback, built = RULES[rule][0](), model(kind, dropout=True)
        saves = [ModelCheckpoint(tmp_path / "all", "{step}", save_top_k=-1, every_n_train_steps=1)] * (not ckpt_path)
        settings = {"precision": precision, "enable_checkpointing": bool(saves)}
        return fit(tmp_path, built, callback, *saves, ckpt_path=ckpt_path, **settings), callback.state_dict()

    whole, state = run()
    for step in (1, 3):
        rest, last = run(tmp_path / f"all/step={step}.ckpt")
        assert rest.losses == whole.losses[step:]
        for ours, theirs in ((rest.policy, whole.policy[step:]), (rest.reference, whole.reference[step:])):
            assert len(ours) == len(theirs)
            assert all(torch.equal(o[name], t[name]) for o, t in zip(ours, theirs, strict=True) for name in o)
        assert last["steps"] == state["steps"] == STEPS
        for kept, tensors in state["kept"].items():
            assert all(torch.equal(last["kept"][kept][name], value) for name, value in tensors.items())


def test_a_fit_that_is_continued_in_memory_goes_on_counting(tmp_path):
    run, trail, pairs = model(), Trail(), data(tmp_path)
    again = trainer(callbacks=[RULES["bema"][0](), trail], max_steps=3, max_epochs=-1, limit_val_batches=0)
    again.fit(run, pairs)
    again.fit_loop.epoch_loop.max_steps = STEPS
    again.fit(run, pairs)
    del trail.policy[4]  # the end of the first is the start of the second
    assert len(trail.policy) == STEPS + 1
    assert distance(trail.reference[-1], RULES["bema"][1](trail.reference[0], trail.policy)) < 1e-6


def test_a_second_fit_begins_anew(tmp_path):
    run, mover = model(step_zero_check=False), RULES["bema"][0]()
    fit(tmp_path, run, mover)
    trail = fit(tmp_path, run, mover, precision="32-true")
    assert distance(trail.reference[-1], RULES["bema"][1](trail.reference[0], trail.policy)) < 1e-6


def test_the_command_knows_them_by_name(tmp_path, monkeypatch):
    config = {
        "model": {
            "policy": saved_model(tmp_path / "model"),
            "lora": {"r": 2},
            "reference": "FrozenAdapter",
            "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 1e-4}},
        },
        "data": {"dataset": write_rows(tmp_path / "pairs.jsonl"), "val_split": "train[:8]", "batch_pairs": 4},
        "trainer": {
            "accelerator": "cpu",
            "max_steps": 2,
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "callbacks": [{"class_path": "BEMAReference", "init_args": {"every": 1, "lag": 1.0}}],
        },
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["dpo-lightning"])
    main(["fit", "--config", "run.yaml"])
