"""What Lightning calls on a module when a checkpoint is written or read."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.core.saving import load_hparams_from_yaml, save_hparams_to_yaml
from lightning.pytorch.loggers import CSVLogger
from torch.optim import SGD
from transformers import BitsAndBytesConfig

from dpo_lightning import DPO, IPO, FrozenCopy, LoRA, PreferenceModule
from dpo_lightning.errors import InputError
from tests.helpers.runs import Losses, data, fit, module, saved_model, trainer
from tests.helpers.tiny import tiny_llama


def checkpointed(path: Path, model: PreferenceModule, step: int) -> Path:
    """The checkpoint that a run writes after an optimizer step."""
    saving = ModelCheckpoint(dirpath=path / "checkpoints", every_n_train_steps=step, save_top_k=-1, filename="{step}")
    fit(path, model, callbacks=[saving], max_steps=step, enable_checkpointing=True)
    return path / "checkpoints" / f"step={step}.ckpt"


@pytest.mark.parametrize("lora", [None, LoRA(r=4)], ids=["full", "lora"])
def test_a_checkpoint_holds_the_trainable_parameters_and_resumes_strictly(tmp_path, lora):
    model = module(lora=lora, lr=1e-2)
    path = checkpointed(tmp_path, model, step=4)
    saved = torch.load(path, weights_only=True)["state_dict"]
    assert set(saved) == {name for name, p in model.named_parameters() if p.requires_grad}
    assert all(("lora_" in name) == (lora is not None) for name in saved)

    _, straight = fit(tmp_path, module(lora=lora, lr=1e-2), max_steps=6)
    recorder = Losses()
    trainer(callbacks=[recorder], max_steps=6).fit(module(lora=lora, lr=1e-2), data(tmp_path), ckpt_path=str(path))
    assert recorder.losses == straight[4:]


def test_a_checkpoint_of_other_parameters_is_refused(tmp_path):
    path = checkpointed(tmp_path, module(lora=LoRA(r=4)), step=1)
    with pytest.raises(InputError, match=r"parameters are not this run's.*: give the policy and the `lora` of that"):
        trainer(max_steps=2).fit(module(), data(tmp_path), ckpt_path=str(path))


def test_load_from_checkpoint_rebuilds_objective_and_adapter(tmp_path):
    name = saved_model(tmp_path / "model")
    model = module(name, objective=DPO(beta=0.3), lora=LoRA(r=4), lr=1e-2)
    loaded = PreferenceModule.load_from_checkpoint(checkpointed(tmp_path, model, step=3))
    assert loaded.objective == DPO(beta=0.3)
    assert loaded.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in loaded.state_dict().items())


class SavesAgain(PreferenceModule):
    """Saves its arguments once more, as Lightning's documentation shows it."""

    def __init__(
        self,
        policy,
        objective=DPO(),  # noqa: B008
        reference=None,
        optimizer: OptimizerCallable = partial(SGD, lr=0.1),  # noqa: B008
        judge=len,
    ) -> None:
        super().__init__(policy, objective, reference, optimizer=optimizer)
        self.save_hyperparameters()


def test_arguments_that_a_subclass_saves_again_are_held_in_plain_form(tmp_path):
    path = checkpointed(tmp_path, SavesAgain(saved_model(tmp_path / "model"), DPO(beta=0.3), FrozenCopy()), step=1)
    saved = torch.load(path, weights_only=True)
    assert saved["hyper_parameters"]["objective"]["class_path"] == "dpo_lightning.DPO"
    assert "not_held" not in saved
    loaded = SavesAgain.load_from_checkpoint(path)
    assert (loaded.objective, loaded.reference_settings) == (DPO(beta=0.3), FrozenCopy())
    trainer(max_steps=2).fit(SavesAgain(str(tmp_path / "model"), DPO(beta=0.3)), data(tmp_path), ckpt_path=str(path))


@pytest.mark.filterwarnings("ignore:Attribute 'policy' is an instance")
def test_what_a_subclass_saves_again_and_no_checkpoint_holds_is_asked_for(tmp_path):
    path = checkpointed(tmp_path, SavesAgain(tiny_llama(), judge=max), step=1)
    kinds = {"policy": "LlamaForCausalLM", "judge": "builtin_function_or_method"}
    assert torch.load(path, weights_only=True)["not_held"] == kinds
    with pytest.raises(InputError, match="does not hold its judge, a builtin_function_or_method"):
        SavesAgain.load_from_checkpoint(path, policy=tiny_llama())


@pytest.mark.parametrize("kind", [PreferenceModule, SavesAgain])
def test_a_loggers_file_of_arguments_is_plain_and_loads(kind, tmp_path):
    name, logger = saved_model(tmp_path / "model"), CSVLogger(tmp_path)
    optimizer = partial(SGD, lr=0.1, momentum=0.9)
    fit(tmp_path, kind(name, IPO(tau=0.3), optimizer=optimizer), logger=logger, max_steps=1)
    path = checkpointed(tmp_path, kind(name), step=1)
    file = Path(logger.log_dir, "hparams.yaml")
    assert "!!python" not in file.read_text()
    assert kind.load_from_checkpoint(path, hparams_file=file).objective == IPO(tau=0.3)
    with pytest.raises(InputError, match=r"hparams_file .*none.yaml: no such file: give the hparams.yaml of the run"):
        kind.load_from_checkpoint(path, hparams_file=tmp_path / "none.yaml")


class Ignores(PreferenceModule):
    """Holds all but two of its arguments."""

    def __init__(self, policy, objective=DPO(), judge=None, lora=None) -> None:  # noqa: B008
        super().__init__(policy, objective, lora=lora)
        self.save_hyperparameters(ignore=["objective", "judge", "lora"])


def test_what_a_subclass_ignores_is_asked_for_unless_it_is_the_default(tmp_path):
    name = saved_model(tmp_path / "model")
    assert Ignores(name).not_held == {}
    path = checkpointed(tmp_path, Ignores(name, DPO(beta=0.3)), step=1)
    with pytest.raises(
        InputError, match=r"does not hold its objective, a DPO: load_from_checkpoint\(..., objective=it"
    ):
        Ignores.load_from_checkpoint(path)
    assert Ignores.load_from_checkpoint(path, objective=DPO(beta=0.3)).objective == DPO(beta=0.3)


def test_a_loggers_file_holds_a_dtype_by_its_name(tmp_path):
    options = {"load_in_4bit": True, "bnb_4bit_compute_dtype": torch.bfloat16}
    model = PreferenceModule("some/model", quantization_config=options)
    save_hparams_to_yaml(tmp_path / "hparams.yaml", model.hparams_initial)
    named = {"load_in_4bit": True, "bnb_4bit_compute_dtype": "bfloat16"}
    assert load_hparams_from_yaml(tmp_path / "hparams.yaml")["quantization_config"] == named
    assert BitsAndBytesConfig(**named).bnb_4bit_compute_dtype == torch.bfloat16
