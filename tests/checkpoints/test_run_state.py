"""What a checkpoint holds of a run beside the trained weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from dpo_lightning import BetaDPO, FrozenCopy, FrozenModule, Observation, PairedBCO, PreferenceModule
from dpo_lightning.checkpoints.run_state import add_run_state, restore_run_state
from dpo_lightning.errors import InputError
from dpo_lightning.policy.source import PolicySource
from dpo_lightning.reference import NoReference
from tests.helpers.runs import data, module, saved_model, trainer
from tests.helpers.tiny import tiny_llama


def test_a_policy_without_a_config_is_saved_without_one() -> None:
    model = module()
    model.configure_model()
    model.policy_source = PolicySource(nn.Linear(2, 2), model.policy_source.options)
    checkpoint: dict[str, object] = {}
    add_run_state(model, checkpoint)
    assert checkpoint == {}


def test_a_running_mean_is_not_that_of_another_objective() -> None:
    trained, other = module(objective=PairedBCO()), module(objective=BetaDPO())
    checkpoint: dict[str, object] = {}
    for each in (trained, other):
        each.configure_model()
    trained.running_mean.baseline(Observation(torch.tensor([3.0]), 0.9), moves=True)
    add_run_state(trained, checkpoint)

    restore_run_state(other, checkpoint, trainer=None)
    again = module(objective=PairedBCO())
    again.configure_model()
    restore_run_state(again, checkpoint, trainer=None)

    assert other.running_mean.seen.sum() == 0
    assert again.running_mean.means[0] == 3


class TestAReferenceGivenAsAModule:
    @pytest.fixture
    def checkpoint(self, tmp_path: Path) -> Path:
        name = saved_model(tmp_path / "model")
        run = trainer(max_steps=1)
        run.fit(module(name, reference=tiny_llama(seed=5), step_zero_check=False), data(tmp_path))
        run.save_checkpoint(tmp_path / "step=1.ckpt")
        return tmp_path / "step=1.ckpt"

    def test_is_not_saved(self, checkpoint: Path) -> None:
        saved = torch.load(checkpoint, weights_only=True)
        assert "reference" not in saved["hyper_parameters"]
        assert not any("reference" in name for name in saved["state_dict"])

    @pytest.mark.parametrize("is_there", [True, False], ids=["policy there", "policy gone"])
    def test_has_to_be_given_again(self, checkpoint: Path, is_there: bool) -> None:
        if not is_there:
            (checkpoint.parent / "model").rename(checkpoint.parent / "elsewhere")
        with pytest.raises(InputError, match="the checkpoint's reference was a module: give it again") as refused:
            PreferenceModule.load_from_checkpoint(checkpoint)
        assert "\n" not in str(refused.value)
        model = tiny_llama(seed=5)
        for given in (model, FrozenModule(model)):
            loaded = PreferenceModule.load_from_checkpoint(checkpoint, reference=given)
            assert loaded.reference.own_models() == [model]

    def test_has_to_be_given_to_a_resumed_run_too(self, checkpoint: Path) -> None:
        again = module(str(checkpoint.parent / "model"), step_zero_check=False)
        with pytest.raises(InputError, match="the checkpoint's reference was a module: give it again"):
            trainer(max_steps=2).fit(again, data(checkpoint.parent), ckpt_path=checkpoint)

    @pytest.mark.parametrize("other", [NoReference(), FrozenCopy()], ids=["none", "copy"])
    def test_another_one_can_take_its_place(self, checkpoint: Path, other: NoReference | FrozenCopy) -> None:
        assert PreferenceModule.load_from_checkpoint(checkpoint, reference=other).reference_settings == other
