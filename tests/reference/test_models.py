"""The models of a run: precision, place, and the layout that fits them."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch

from dpo_lightning import FrozenCopy
from dpo_lightning.callbacks import EMAReference
from dpo_lightning.errors import InputError
from dpo_lightning.logprobs import scorer as scorer_module
from dpo_lightning.policy import narrow_base
from dpo_lightning.policy.prepare import PolicyOptions
from dpo_lightning.policy.source import PolicySource
from dpo_lightning.reference import frozen
from dpo_lightning.reference.models import Place, RunModels
from dpo_lightning.training.schedules import Linear
from tests.helpers.runs import data, fit, module, saved_model, trainer
from tests.helpers.tiny import tiny_llama
from tests.reference.common import BATCH, distance, logps, train
from tools.docs.architecture_models import tiny_model


def test_the_reference_stays_out_of_everything(tmp_path):
    model = module(reference=FrozenCopy())
    run, _ = fit(tmp_path, model)
    parameters = sum(p.numel() for p in tiny_llama().parameters())
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert sum(p.numel() for group in run.optimizers[0].param_groups for p in group["params"]) == parameters
    assert not any("reference" in name for name in [*model.state_dict(), *dict(model.named_modules())])


def test_the_layout_is_tested_once_when_the_policy_is_ready(tmp_path, monkeypatch):
    tested = []
    monkeypatch.setattr(scorer_module, "tree_problem", tested.append)
    model = module(schedule=Linear(warmup=0))  # asks for the number of steps, and with it for the loader
    run, _ = fit(tmp_path, model)
    run.validate(model, data(tmp_path), verbose=False)
    assert tested == [model.policy, *model.reference.own_models()]
    trainer(max_steps=1).fit(module(), data(tmp_path, layout="padded"))
    assert len(tested) == 2


def test_a_reference_of_its_own_is_tested_too(tmp_path):
    model = module(reference=tiny_model("bloom"), step_zero_check=False)
    with pytest.warns(UserWarning, match="padded, since the tree layout does not fit the reference: Bloom"):
        fit(tmp_path, model, max_steps=1)


def test_a_policy_that_has_a_name_is_had_again_as_it_was(tmp_path):
    models = RunModels(PolicySource(saved_model(tmp_path / "model"), PolicyOptions()), None, Place())
    start = logps(models.policy)
    train(models.policy, steps=1)

    again = models.policy_again()

    assert again is not models.policy
    assert torch.equal(logps(again), start)
    assert distance(logps(models.policy), start) > 0.1
    assert models.whole_policy() is models.policy
    assert torch.equal(models.reference.token_logps(BATCH), start)


def test_a_policy_that_was_a_module_is_not():
    models = RunModels(PolicySource(tiny_llama(), PolicyOptions()), None, Place())

    with pytest.raises(InputError, match="given as a module, is no longer what it was: score these rows before"):
        models.policy_again()


@pytest.mark.parametrize(("precision", "dtype"), [(None, torch.float32), ("bf16-true", torch.bfloat16)])
def test_both_models_have_the_precision_of_their_place(precision, dtype):
    models = RunModels(PolicySource(tiny_llama(), PolicyOptions()), None, Place(precision))

    (reference,) = models.reference.own_models()
    assert {p.dtype for model in (models.policy, reference) for p in model.parameters()} == {dtype}
    assert models.scorer.model is models.policy


def test_mixed_precision_halves_the_reference_and_leaves_policy_and_identity_as_they_are():
    known = RunModels(PolicySource(tiny_llama(), PolicyOptions()), None, Place())
    place = Place("bf16-mixed", device=torch.device("cuda"))
    models = RunModels(PolicySource(tiny_llama(), PolicyOptions(fused_layers="none")), None, place)

    (reference,) = models.reference.own_models()
    assert reference.lm_head.weight.dtype == reference.model.layers[0].mlp.up_proj.weight.dtype == torch.bfloat16
    assert {parameter.dtype for parameter in models.policy.parameters()} == {torch.float32}
    assert set(models.identity.reference["weights"]["dtypes"]) == {torch.float32}
    assert torch.equal(models.identity.reference["weights"]["bytes"], known.identity.reference["weights"]["bytes"])


@pytest.mark.parametrize("mover", [[], [EMAReference(decay=0.5)]], ids=["fixed", "moved"])
def test_a_run_does_not_see_how_its_reference_is_held(tmp_path, monkeypatch, mover):
    def losses(name, device):
        of_a_gpu = partial(narrow_base.hold_copy_narrow, device=device)
        monkeypatch.setattr(frozen, "hold_copy_narrow", lambda model, precision, _: of_a_gpu(model, precision))
        (tmp_path / name).mkdir()
        model = module(tiny_llama(), reference=FrozenCopy())
        fit(tmp_path / name, model, precision="bf16-mixed", callbacks=copy.deepcopy(mover), max_steps=3)
        # Outside the run, in float32.
        return model, model.reference.token_logps(BATCH)

    (held, narrow), (_, plain) = losses("gpu", torch.device("cuda")), losses("cpu", torch.device("cpu"))
    assert torch.equal(narrow, plain)
    weight = held.reference.own_models()[0].lm_head.weight
    assert weight.dtype == (torch.float32 if mover else torch.bfloat16)
