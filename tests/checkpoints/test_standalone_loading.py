"""A checkpoint of a whole model loads where the policy's directory is not; any other says what is missing."""

from __future__ import annotations

import io
import shutil
from functools import partial
from pathlib import Path

import fsspec
import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem
from torch.optim import SGD

from dpo_lightning import DPO, SFT, FrozenCopy, LoRA, Objective, PreferenceModule, Reads
from dpo_lightning.checkpoints.standalone_loading import arguments_in_place
from dpo_lightning.errors import InputError
from tests.helpers.runs import data, module, saved_model, trainer
from tests.helpers.saved import TouchesAFile, spoil
from tests.helpers.tiny import tiny_llama


def fitted(path: Path, model: PreferenceModule) -> Path:
    """A checkpoint after two steps."""
    fit = trainer(max_steps=2)
    fit.fit(model, data(path))
    fit.save_checkpoint(path / "step=2.ckpt")
    return path / "step=2.ckpt"


def gone(path: Path, model: PreferenceModule) -> Path:
    """A checkpoint whose policy's directory is not there any more."""
    checkpoint = fitted(path, model)
    shutil.rmtree(path / "model")
    return checkpoint


def weights(model: PreferenceModule) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.policy.named_parameters()}


def assert_equal_policies(left: PreferenceModule, right: PreferenceModule) -> None:
    expected, found = weights(left), weights(right)
    assert expected.keys() == found.keys()
    assert all(torch.equal(value, found[name]) for name, value in expected.items())
    ids = torch.arange(1, 20).reshape(1, -1)
    assert torch.equal(left.policy.eval()(ids).logits, right.policy.eval()(ids).logits)


@pytest.mark.parametrize("tied", [False, True])
def test_a_whole_model_needs_no_directory(tmp_path, tied):
    overrides = {"tie_word_embeddings": tied, "attention_dropout": 0.1, "rope_parameters": {"rope_theta": 777.0}}
    overrides["rope_parameters"]["rope_type"] = "default"
    name = saved_model(tmp_path / "model", **overrides)
    model = module(name, objective=DPO(beta=0.3), lr=1e-2, gradient_checkpointing=True)
    checkpoint = gone(tmp_path, model)
    before = torch.get_rng_state()
    loaded = PreferenceModule.load_from_checkpoint(checkpoint)
    assert torch.equal(torch.get_rng_state(), before)
    assert_equal_policies(model, loaded)
    assert loaded.objective == DPO(beta=0.3)
    assert loaded.policy_source.original_config()["attention_dropout"] == 0.1
    assert loaded.policy.config.rope_parameters["rope_theta"] == 777.0
    assert {p.dtype for p in loaded.policy.parameters()} == {torch.float32}


def test_attention_and_float32_weights_after_a_run_in_bfloat16(tmp_path):
    name = saved_model(tmp_path / "model")
    model = module(name, model_kwargs={"attn_implementation": "eager"}, lr=1e-2)
    fit = trainer(max_steps=1, precision="bf16-true")
    fit.fit(model, data(tmp_path))
    fit.save_checkpoint(tmp_path / "step=1.ckpt")
    shutil.rmtree(name)
    loaded = PreferenceModule.load_from_checkpoint(tmp_path / "step=1.ckpt")
    assert loaded.policy.config._attn_implementation == "eager"
    assert all(torch.equal(value.float(), weights(loaded)[key]) for key, value in weights(model).items())


def test_where_the_directory_is_the_reference_is_too(tmp_path):
    model = module(saved_model(tmp_path / "model"), lr=1e-2)
    loaded = PreferenceModule.load_from_checkpoint(fitted(tmp_path, model))
    (reference,), (expected,) = loaded.reference.own_models(), model.reference.own_models()
    assert all(map(torch.equal, reference.parameters(), expected.parameters()))


def test_a_lost_reference_is_missed_and_not_made_up(tmp_path):
    model = module(saved_model(tmp_path / "model"), lr=1e-2)
    loaded = PreferenceModule.load_from_checkpoint(gone(tmp_path, model))
    with pytest.raises(InputError, match="the reference is the policy before training"):
        trainer().validate(loaded, data(tmp_path), verbose=False)


@pytest.mark.parametrize("kind", ["none", "own weights"])
def test_without_a_lost_reference_it_validates_the_same(tmp_path, kind):
    reference = {"objective": SFT()} if kind == "none" else {"step_zero_check": False}
    if kind == "own weights":
        reference["reference"] = FrozenCopy(checkpoint=saved_model(tmp_path / "reference", seed=5))
    model = module(saved_model(tmp_path / "model"), lr=1e-2, **reference)
    loaded = PreferenceModule.load_from_checkpoint(gone(tmp_path, model))
    expected = trainer().validate(model, data(tmp_path), verbose=False)
    assert trainer().validate(loaded, data(tmp_path), verbose=False) == expected


def test_it_can_be_saved_and_loaded_again(tmp_path):
    model = module(saved_model(tmp_path / "model"), objective=SFT(), lr=1e-2)
    loaded = PreferenceModule.load_from_checkpoint(gone(tmp_path, model))
    (tmp_path / "again").mkdir()
    again = fitted(tmp_path / "again", loaded)
    with pytest.raises(InputError, match=r"step=2.ckpt: its policy was a module: load_from_checkpoint\(..., policy="):
        PreferenceModule.load_from_checkpoint(again)
    assert_equal_policies(loaded, PreferenceModule.load_from_checkpoint(again, policy=tiny_llama(seed=9)))


def test_an_adapter_says_that_its_base_is_missing(tmp_path):
    model = module(saved_model(tmp_path / "model"), lora=LoRA(r=2), lr=1e-2)
    checkpoint = gone(tmp_path, model)
    assert "model_config" not in torch.load(checkpoint, weights_only=True)
    with pytest.raises(
        InputError, match=r"holds an adapter, and the model under it is not there \(.*/model\)"
    ) as caught:
        PreferenceModule.load_from_checkpoint(checkpoint)
    assert "\n" not in str(caught.value)
    elsewhere = saved_model(tmp_path / "elsewhere")
    again = PreferenceModule.load_from_checkpoint(checkpoint, policy=elsewhere)
    again.policy_source.give_back()  # as the run has done with its own
    assert_equal_policies(model, again)


class HalfFrozen(PreferenceModule):
    """Trains one layer only."""

    def configure_model(self) -> None:
        super().configure_model()
        self.policy.requires_grad_(False)
        self.policy.model.layers[0].requires_grad_(True)


def test_a_checkpoint_that_does_not_hold_every_weight_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"lacks 12 of the model's weights \(model.embed_tokens.weight"):
        HalfFrozen.load_from_checkpoint(gone(tmp_path, HalfFrozen(saved_model(tmp_path / "model"))))


def test_a_model_that_transformers_does_not_know_is_refused(tmp_path):
    checkpoint = gone(tmp_path, module(saved_model(tmp_path / "model")))
    saved = torch.load(checkpoint, weights_only=True)
    saved["model_config"]["model_type"] = "homemade"
    torch.save(saved, checkpoint)
    with pytest.raises(InputError, match="model of type 'homemade'"):
        PreferenceModule.load_from_checkpoint(checkpoint)


def test_a_module_of_ones_own_is_given_again(tmp_path):
    checkpoint = fitted(tmp_path, module(lr=1e-2))
    with pytest.raises(InputError, match="its policy was a module"):
        PreferenceModule.load_from_checkpoint(checkpoint)
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    for source in (str(checkpoint), io.BytesIO(checkpoint.read_bytes())):
        loaded = PreferenceModule.load_from_checkpoint(source, policy=tiny_llama(seed=3))
        assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in state.items())


class Unheld(Objective):
    """No dataclass."""

    reads = Reads.NOTHING

    def __call__(self, scores):
        return -scores.policy_chosen_logps

    def rewards(self, scores):
        return scores.policy_chosen_logps, scores.policy_rejected_logps


@pytest.mark.filterwarnings("ignore:Unheld is no dataclass")
def test_an_objective_that_it_does_not_hold_is_given_again(tmp_path):
    checkpoint = fitted(tmp_path, module(saved_model(tmp_path / "model"), objective=Unheld()))
    message = r"step=2.ckpt does not hold its objective, a Unheld: load_from_checkpoint\(..., objective=it\)$"
    for weights_only in (None, False):
        with pytest.raises(InputError, match=message):
            PreferenceModule.load_from_checkpoint(checkpoint, weights_only=weights_only)
    for weights_only in (None, False):
        with pytest.raises(InputError, match="does not hold its objective, a Unheld"):
            PreferenceModule.load_from_checkpoint(io.BytesIO(checkpoint.read_bytes()), weights_only=weights_only)
    again = PreferenceModule.load_from_checkpoint(checkpoint, objective=Unheld())
    assert isinstance(again.objective, Unheld)


def with_optimizer(path: Path, optimizer) -> Path:
    """A checkpoint of a run with that optimizer."""
    return fitted(path, module(saved_model(path / "model"), optimizer=optimizer, step_zero_check=False))


def test_an_optimizer_that_it_does_not_hold_is_asked_for_in_training(tmp_path):
    loaded = PreferenceModule.load_from_checkpoint(with_optimizer(tmp_path, lambda params: SGD(params, lr=0.5)))
    trainer().validate(loaded, data(tmp_path), verbose=False)
    untrusting = PreferenceModule.load_from_checkpoint(tmp_path / "step=2.ckpt", weights_only=False)
    for each in (loaded, untrusting):
        with pytest.raises(InputError, match=r"could not hold its optimizer, a function: load_from_checkpoint\("):
            trainer().fit(each, data(tmp_path))
    assert loaded.not_held == {"optimizer": "function"}


def test_a_checkpoint_on_another_file_system_is_asked_too(tmp_path, monkeypatch):
    checkpoint = with_optimizer(tmp_path, lambda params: SGD(params, lr=0.5))
    with fsspec.open("memory://lost.ckpt", "wb") as file:
        file.write(checkpoint.read_bytes())
    opened = []
    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "_open", _counted(MemoryFileSystem._open, opened))
        loaded = PreferenceModule.load_from_checkpoint("memory://lost.ckpt")
    assert opened == ["/lost.ckpt"], "it is read once"
    with pytest.raises(InputError, match="could not hold its optimizer, a function: load_from"):
        trainer().fit(loaded, data(tmp_path))


def _counted(opens, seen):
    def counted(self, path, *args, **kwargs):
        seen.append(path)
        return opens(self, path, *args, **kwargs)

    return counted


@pytest.mark.parametrize(
    ("path", "message"), [("memory://nowhere.ckpt", "there is none"), ("nothing://a.ckpt", "Protocol not known: noth")]
)
def test_what_another_file_system_has_not_is_one_line(path, message):
    with pytest.raises(InputError, match=f"checkpoint {path}: {message}"):
        PreferenceModule.load_from_checkpoint(path)


def test_an_optimizer_that_it_holds_comes_back_each_time(tmp_path):
    checkpoint = with_optimizer(tmp_path, partial(SGD, lr=0.5))
    for _ in range(2):
        fit = trainer(max_steps=1)
        fit.fit(PreferenceModule.load_from_checkpoint(checkpoint), data(tmp_path))
        assert (type(fit.optimizers[0]), fit.optimizers[0].defaults["lr"]) == (SGD, 0.5)
        fit.save_checkpoint(checkpoint)


def test_an_argument_of_another_name_or_kind_is_refused_in_one_line(tmp_path):
    checkpoint = fitted(tmp_path, module(saved_model(tmp_path / "model")))
    cases = {
        r"\(..., objectiv=\): PreferenceModule has no argument objectiv: did you mean objective\?$": {
            "objectiv": DPO()
        },
        r"^load_from_checkpoint\(..., reference='x'\): Expected a dot import path string: x: give what Pref": {
            "reference": "x"
        },
        r"^load_from_checkpoint\(..., objective=DPO\) is a class: give DPO\(...\)$": {"objective": DPO},
        r"schedule=3\): Not a valid subclass of Schedule. Got value: 3: give what PreferenceModule\(schedule=": {
            "schedule": 3
        },
    }
    for message, given in cases.items():
        with pytest.raises(InputError, match=message) as caught:
            PreferenceModule.load_from_checkpoint(checkpoint, **given)
        assert "\n" not in str(caught.value)


def test_a_class_that_is_gone_is_named_in_one_line(tmp_path):
    checkpoint = fitted(tmp_path, module(saved_model(tmp_path / "model")))
    saved = torch.load(checkpoint, weights_only=True)
    saved["hyper_parameters"]["objective"]["class_path"] = "gone.place.DPO"
    torch.save(saved, checkpoint)
    message = (
        r"its objective: .* 'gone.place.DPO': No module named 'gone': load_from_checkpoint\(..., objective=another\)$"
    )
    with pytest.raises(InputError, match=message):
        PreferenceModule.load_from_checkpoint(checkpoint)
    assert PreferenceModule.load_from_checkpoint(checkpoint, objective=DPO(beta=0.7)).objective == DPO(beta=0.7)


class OtherName(PreferenceModule):
    """Its argument for the policy has a name of its own."""

    def __init__(self, model, beta=0.3) -> None:
        super().__init__(model, DPO(beta))


@pytest.mark.filterwarnings("ignore:Attribute 'model' is an instance")
def test_a_policys_argument_of_another_name_is_asked_for_by_that_name(tmp_path):
    checkpoint = fitted(tmp_path, OtherName(tiny_llama()))
    message = r"does not hold its model, a LlamaForCausalLM: load_from_checkpoint\(..., model=it\)$"
    with pytest.raises(InputError, match=message):
        OtherName.load_from_checkpoint(checkpoint)
    with pytest.raises(InputError, match=r"OtherName has no argument policy: it takes beta, model$"):
        OtherName.load_from_checkpoint(checkpoint, policy=tiny_llama())
    assert OtherName.load_from_checkpoint(checkpoint, model=tiny_llama()).objective == DPO(beta=0.3)


class MakesItsReference(PreferenceModule):
    """Takes nothing but the policy."""

    def __init__(self, policy) -> None:
        super().__init__(policy, Unheld())


@pytest.mark.filterwarnings("error:Unheld is no dataclass")
def test_what_the_constructor_makes_itself_is_not_asked_for(tmp_path):
    name = saved_model(tmp_path / "model")
    checkpoint = fitted(tmp_path, MakesItsReference(name))
    assert isinstance(MakesItsReference.load_from_checkpoint(checkpoint).objective, Unheld)


class FixesDPO(PreferenceModule):
    """Takes nothing but the policy, and compares with it as it was."""

    def __init__(self, policy) -> None:
        super().__init__(policy, DPO(), step_zero_check=False)


def test_a_reference_that_the_constructor_makes_of_a_lost_policy_is_not_made_up(tmp_path):
    checkpoint = gone(tmp_path, FixesDPO(saved_model(tmp_path / "model")))
    with pytest.raises(
        InputError, match="FixesDPO has no argument `reference`, and would make one of the policy before"
    ):
        FixesDPO.load_from_checkpoint(checkpoint)


def test_a_damaged_file_and_a_malicious_one_are_refused(tmp_path):
    checkpoint = fitted(tmp_path, module())
    torch.save({"hyper_parameters": TouchesAFile(tmp_path / "ran")}, tmp_path / "evil.ckpt")
    for weights_only in (None, True):
        with pytest.raises(InputError, match=r"evil.ckpt holds more than plain types, .* with weights_only=False"):
            PreferenceModule.load_from_checkpoint(tmp_path / "evil.ckpt", weights_only=weights_only)
    assert not (tmp_path / "ran").exists()
    torch.save([1], tmp_path / "list.ckpt")
    for weights_only in (None, False):
        with pytest.raises(InputError, match=r"list.ckpt has no state_dict: give a file that a Trainer has saved"):
            PreferenceModule.load_from_checkpoint(tmp_path / "list.ckpt", weights_only=weights_only)
    spoil(checkpoint)
    with pytest.raises(InputError, match=r"its record .* is corrupt"):
        PreferenceModule.load_from_checkpoint(checkpoint)
    with pytest.raises(InputError, match="would run code from http"):
        PreferenceModule.load_from_checkpoint("http://127.0.0.1:9/evil.ckpt", weights_only=False)


def test_an_instance_does_not_load(tmp_path):
    with pytest.raises(TypeError, match="cannot be called on an instance"):
        module().load_from_checkpoint(tmp_path / "step=2.ckpt")


_NAMED = "optimizer: {a: [!!python/name:os.system ]}"


@pytest.mark.parametrize("text", ["a: !!python/object/apply:os.getcwd []", "a: [1", "", "- 1", _NAMED])
def test_a_file_of_arguments_that_is_none_is_one_line(tmp_path, text):
    trial = trainer(max_steps=1)
    trial.fit(module(saved_model(tmp_path / "model")), data(tmp_path))
    trial.save_checkpoint(tmp_path / "a.ckpt")
    (tmp_path / "hparams.yaml").write_text(text)
    with pytest.raises(InputError, match=r"^hparams_file .*hparams\.yaml") as refused:
        PreferenceModule.load_from_checkpoint(tmp_path / "a.ckpt", hparams_file=tmp_path / "hparams.yaml")
    assert "\n" not in str(refused.value)


def test_a_policy_that_is_no_name_is_refused(tmp_path):
    saved = {"state_dict": {}, "hyper_parameters": {"policy": 5}}
    with pytest.raises(InputError, match=r"its policy is 5, no name of a model: load_from_checkpoint\(\.\.\., policy="):
        arguments_in_place(PreferenceModule, saved, "a.ckpt", {})
