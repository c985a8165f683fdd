"""The examples run, and do what they say."""

from __future__ import annotations

import math
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import lightning.pytorch as pl
import pytest
import torch

from dpo_lightning import DPO, PreferenceBatch, PreferenceModule
from dpo_lightning.data import collate_padded

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"

# Its validation loop has nothing to do in an example that only trains.
pytestmark = pytest.mark.filterwarnings("ignore:You defined a `validation_step`")


def load(name: str) -> ModuleType:
    spec = spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def extra() -> ModuleType:
    return load("extra_loss_term")


@pytest.fixture(scope="module")
def foreign() -> ModuleType:
    return load("foreign_module")


@pytest.fixture(scope="module")
def texts() -> ModuleType:
    return load("pairs_and_texts")


@pytest.mark.parametrize("name", ["extra_loss_term", "foreign_module", "pairs_and_texts"])
def test_main_prints_what_came_out(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    load(name).main()
    assert capsys.readouterr().out.strip()


def batch_of(example: ModuleType) -> PreferenceBatch:
    return collate_padded(example.toy_pairs(8))


def test_the_extra_term_is_added_to_the_loss(extra: ModuleType) -> None:
    module = extra.LikelihoodDPO(extra.tiny_policy(), DPO(beta=0.1), likelihood_weight=0.5)
    module.configure_model()
    batch = batch_of(extra)
    scores = module.score(batch)
    losses = module.pair_losses(batch, scores)
    # Before training DPO alone gives ln 2, and each chosen completion has 6 tokens.
    expected = math.log(2) - 0.5 * scores.policy_chosen_logps / 6
    torch.testing.assert_close(losses, expected)


def test_the_extra_term_changes_what_is_learnt(extra: ModuleType) -> None:
    without, with_term = (extra.train(weight)[1].callback_metrics for weight in (0.0, 1.0))
    assert without["train/loss"] < 0.3
    assert with_term["train/rewards/accuracies"] > 0.95
    assert with_term["train/logps/chosen"] > without["train/logps/chosen"] + 1


def test_a_subclass_is_restored_with_its_own_argument(extra: ModuleType, tmp_path: Path) -> None:
    module, trainer = extra.train(0.25, epochs=1)
    trainer.save_checkpoint(tmp_path / "subclass.ckpt")

    saved = torch.load(tmp_path / "subclass.ckpt", weights_only=True)["hyper_parameters"]
    assert saved["likelihood_weight"] == 0.25
    assert saved["objective"]["init_args"] == {"beta": 0.1, "label_smoothing": 0.0}

    restored = extra.LikelihoodDPO.load_from_checkpoint(tmp_path / "subclass.ckpt", policy=extra.tiny_policy())
    assert type(restored) is extra.LikelihoodDPO
    assert restored.likelihood_weight == 0.25
    assert restored.objective == DPO(beta=0.1)
    assert module.state_dict().keys() == restored.state_dict().keys()
    for name, value in module.state_dict().items():
        assert torch.equal(value, restored.state_dict()[name]), name


def test_the_foreign_module_has_the_same_loss(foreign: ModuleType) -> None:
    theirs = foreign.YourModule(foreign.tiny_model())
    ours = PreferenceModule(foreign.tiny_model(), DPO(beta=0.1))
    ours.configure_model()
    with torch.no_grad():
        for model in (theirs.model, ours.policy):
            model.lm_head.weight.mul_(3.0)
    theirs.log = lambda *_, **__: None
    batch = batch_of(foreign)
    loss = theirs.training_step(batch, 0)
    assert (loss - math.log(2)).abs() > 1e-3
    torch.testing.assert_close(loss, ours.pair_losses(batch, ours.score(batch)).mean())


def test_the_foreign_module_learns_with_its_own_optimizer(foreign: ModuleType) -> None:
    module, trainer = foreign.train()
    assert type(trainer.optimizers[0]) is torch.optim.SGD
    assert trainer.callback_metrics["preference_loss"] < 0.3
    assert trainer.callback_metrics["agreement"] > 0.9
    assert not any("reference" in name for name in module.state_dict())


def test_the_texts_are_learnt_beside_the_pairs(texts: ModuleType) -> None:
    without, with_term = (texts.train(weight)[1].callback_metrics for weight in (0.0, 0.5))
    assert with_term["train/text_loss"] < without["train/text_loss"] - 0.5
    assert with_term["val/rewards/margins"] > 0


def test_pairs_and_texts_go_on_where_they_were(texts: ModuleType, tmp_path: Path) -> None:
    keep = pl.callbacks.ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=3, save_top_k=-1)
    whole = texts.train(0.5, epochs=2, enable_checkpointing=True, callbacks=[keep])[0].state_dict()
    rest = texts.train(0.5, epochs=2, ckpt_path=tmp_path / "step=6.ckpt")[0].state_dict()
    assert whole.keys() == rest.keys()
    assert all(torch.equal(whole[name], rest[name]) for name in whole)
