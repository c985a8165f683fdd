"""A moved reference in a checkpoint: validated, loaded, continued, or refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from dpo_lightning import AdapterOff, FrozenAdapter, FrozenCopy, LoRA, Precomputed, PreferenceModule
from dpo_lightning.callbacks import EMAReference
from dpo_lightning.errors import InputError
from dpo_lightning.reference import NoReference
from tests.callbacks.moving import RULES, distance, fit, model, reference_of
from tests.helpers.runs import data, module, saved_model, trainer


def saved(path: Path, run: PreferenceModule) -> tuple[Path, dict[str, float]]:
    """A checkpoint at the end of a run, and what its last validation found."""
    fitted = trainer(callbacks=[RULES["soft"][0]()], max_steps=4, val_check_interval=4, max_epochs=-1)
    fitted.fit(run, data(path))
    fitted.save_checkpoint(path / "step=4.ckpt")
    found = {name: float(value) for name, value in fitted.callback_metrics.items() if name.startswith("val/")}
    return path / "step=4.ckpt", found


@pytest.mark.parametrize("kind", ["full", "lora"])
class TestElsewhere:
    def test_validation_and_loading_have_the_moved_reference(self, tmp_path, kind):
        run = model(kind, policy=saved_model(tmp_path / "model"))
        checkpoint, expected = saved(tmp_path, run)
        loaded = PreferenceModule.load_from_checkpoint(checkpoint)
        assert loaded.reference.moved_by == run.reference.moved_by == "TrustRegionReference"
        fresh = model(kind, policy=str(tmp_path / "model"))
        for given, ckpt_path in ((loaded, None), (fresh, checkpoint)):
            # Without the callback, too.
            (found,) = trainer().validate(given, data(tmp_path), ckpt_path=ckpt_path, verbose=False)
            assert found == pytest.approx(expected, rel=0, abs=0)
            assert distance(reference_of(given), reference_of(run)) == 0
        assert abs(expected["val/loss"] - trainer_without_moving(tmp_path, kind)["val/loss"]) > 1e-3

    def test_weights_alone_bring_it_too(self, tmp_path, kind):
        run = model(kind, policy=saved_model(tmp_path / "model"))
        fitted = trainer(callbacks=[EMAReference(0.5)], max_steps=2)
        fitted.fit(run, data(tmp_path))
        fitted.save_checkpoint(tmp_path / "weights.ckpt", weights_only=True)
        loaded = PreferenceModule.load_from_checkpoint(tmp_path / "weights.ckpt")
        assert distance(reference_of(loaded), reference_of(run)) == 0

    def test_a_reference_that_cannot_be_it_is_refused(self, tmp_path, kind):
        checkpoint, _ = saved(tmp_path, model(kind, policy=saved_model(tmp_path / "model")))
        other = AdapterOff if kind == "lora" else Precomputed
        with pytest.raises(
            InputError, match="the checkpoint's reference had followed the policy: reference"
        ) as refused:
            PreferenceModule.load_from_checkpoint(checkpoint, reference=other())
        assert "\n" not in str(refused.value)
        settings = {"lora": LoRA(r=2)} if kind == "lora" else {}
        unlike = module(str(tmp_path / "model"), reference=other(), **settings)
        with pytest.raises(InputError, match="the checkpoint's reference had followed the policy"):
            trainer().validate(unlike, data(tmp_path), ckpt_path=checkpoint, verbose=False)
        without = PreferenceModule.load_from_checkpoint(checkpoint, reference=NoReference())
        assert isinstance(without.reference_settings, NoReference)

    def test_a_reference_that_follows_other_weights_is_refused(self, tmp_path, kind):
        checkpoint, _ = saved(tmp_path, model(kind, policy=saved_model(tmp_path / "model")))
        lora = LoRA(r=2, target_modules=["q_proj"])
        wrong = {"lora": lora, "reference": FrozenAdapter() if kind == "full" else FrozenCopy()}
        with pytest.raises(InputError, match=r"had followed \d+ weights of the policy, and this run's follows 4"):
            PreferenceModule.load_from_checkpoint(checkpoint, **wrong)

    def test_a_checkpoint_from_before_the_first_move_takes_it_back(self, tmp_path, kind):
        early = ModelCheckpoint(tmp_path / "early", "{step}", save_top_k=-1, every_n_train_steps=1)
        run = model(kind)
        trail = fit(tmp_path, run, RULES["hard"][0](), early, max_steps=4, enable_checkpointing=True)
        trainer().validate(run, data(tmp_path), ckpt_path=tmp_path / "early/step=1.ckpt", verbose=False)
        assert distance(reference_of(run), trail.reference[0]) == 0
        assert distance(trail.reference[0], trail.reference[-1]) > 1e-3

    def test_a_checkpoint_of_a_run_without_moves_cannot(self, tmp_path, kind):
        settings = {"reference": FrozenAdapter()} if kind == "lora" else {}
        plain = trainer(max_steps=1)
        plain.fit(model(kind, **settings), data(tmp_path))
        plain.save_checkpoint(tmp_path / "plain.ckpt")
        assert "moved_reference" not in torch.load(tmp_path / "plain.ckpt", weights_only=True)
        run = model(kind)
        fit(tmp_path, run, EMAReference(0.5), max_steps=1)
        with pytest.raises(InputError, match=r"left the reference where it was.*into a new PreferenceModule"):
            trainer().validate(run, data(tmp_path), ckpt_path=tmp_path / "plain.ckpt", verbose=False)

    @pytest.mark.parametrize("other", [[], [EMAReference(0.5)]], ids=["none", "another"])
    def test_training_goes_on_with_the_same_callback_only(self, tmp_path, kind, other):
        path, _ = saved(tmp_path, model(kind))
        with pytest.raises(InputError, match=r"was moved by TrustRegionReference, and this run has (nothing|EMARef)"):
            fit(tmp_path, model(kind), *other, ckpt_path=path)

    def test_moves_can_begin_with_a_checkpoint(self, tmp_path, kind):
        plain = ModelCheckpoint(tmp_path / "plain", "{step}", every_n_train_steps=3)
        whole = fit(tmp_path, model(kind), plain, max_steps=3, enable_checkpointing=True)
        checkpoint = tmp_path / "plain/step=3.ckpt"
        rest = fit(tmp_path, model(kind), RULES["bema"][0](), ckpt_path=checkpoint, precision="32-true")
        assert distance(rest.reference[0], whole.reference[0]) == 0
        assert distance(rest.reference[-1], RULES["bema"][1](rest.reference[0], rest.policy)) < 1e-6


def trainer_without_moving(path: Path, kind: str) -> dict[str, float]:
    """What the last validation of the same run finds against a fixed reference."""
    fitted = trainer(max_steps=4, val_check_interval=4, max_epochs=-1)
    fitted.fit(model(kind, policy=str(path / "model")), data(path))
    return {name: float(value) for name, value in fitted.callback_metrics.items()}


def test_the_moved_reference_of_a_whole_model_needs_no_directory(tmp_path):
    run = model(policy=saved_model(tmp_path / "model"))
    checkpoint, expected = saved(tmp_path, run)
    shutil.rmtree(tmp_path / "model")
    loaded = PreferenceModule.load_from_checkpoint(checkpoint)
    assert distance(reference_of(loaded), reference_of(run)) == 0
    (found,) = trainer().validate(loaded, data(tmp_path), verbose=False)
    assert found == pytest.approx(expected, rel=1e-6)
