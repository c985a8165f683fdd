"""What is exported loads in plain transformers and peft, and scores the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from dpo_lightning import LoRA
from dpo_lightning.callbacks import Export, SampleTable
from dpo_lightning.cli.commands.export import export
from dpo_lightning.data import collate_padded
from dpo_lightning.errors import InputError, RunError
from dpo_lightning.report.model_card import Card
from tests.helpers.hub import reached_hub
from tests.helpers.runs import KeptElsewhere, data, module, saved_model, trainer, write_rows
from tests.helpers.tiny import PAIRS, tiny_llama, tiny_tokenizer


def plain_logps(model: torch.nn.Module) -> torch.Tensor:
    """Completion log-probs through the model's own logits, each sequence alone."""
    values = []
    for pair in PAIRS:
        for completion in pair.completion_ids:
            ids = torch.tensor([pair.prompt_ids + completion])
            logps = model(ids).logits[0, :-1].double().log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0]
            values.append(logps[len(pair.prompt_ids) - 1 :].sum())
    return torch.stack(values).detach()


def trained_logps(model: pl.LightningModule) -> torch.Tensor:
    """The same through the module, in the same order."""
    with torch.no_grad():
        chosen_then_rejected = model.score(collate_padded(PAIRS))
    return torch.stack(
        [chosen_then_rejected.policy_chosen_logps, chosen_then_rejected.policy_rejected_logps], 1
    ).flatten()


def fit(path: Path, export: Export, **settings: object) -> pl.LightningModule:
    model = module(saved_model(path / "model", attention_dropout=0.1), lr=1e-2, **settings)
    trainer(callbacks=[export]).fit(model, data(path))
    return model


def test_a_full_model(tmp_path):
    model = fit(tmp_path, Export(str(tmp_path / "out")))
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    torch.testing.assert_close(plain_logps(loaded).float(), trained_logps(model), rtol=1e-5, atol=1e-5)
    assert (plain_logps(tiny_llama()) - plain_logps(loaded)).abs().max() > 0.1  # it did train
    assert loaded.config.use_cache  # training's settings stay behind
    assert loaded.config.attention_dropout == 0.1
    assert (tmp_path / "out/model.safetensors").is_file()
    assert AutoTokenizer.from_pretrained(tmp_path / "out").eos_token == "</s>"


def test_an_adapter_and_the_merged_weights(tmp_path):
    model = fit(tmp_path, Export(str(tmp_path / "out"), merged_path=str(tmp_path / "merged")), lora=LoRA(r=4))
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    adapted = PeftModel.from_pretrained(base, tmp_path / "out").eval()
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    expected = trained_logps(model)
    torch.testing.assert_close(plain_logps(adapted).float(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(plain_logps(merged).float(), expected, rtol=1e-5, atol=1e-5)
    assert (plain_logps(tiny_llama()) - expected).abs().max() > 0.1
    assert (tmp_path / "out/adapter_model.safetensors").is_file()
    assert not (tmp_path / "out/model.safetensors").exists()
    # merging worked on a copy: the trained module still has its adapter
    assert hasattr(model.policy, "peft_config")


def test_an_export_trains_on_as_an_adapter(tmp_path):
    first = fit(tmp_path, Export(str(tmp_path / "out")), lora=LoRA(r=4))
    second = module(str(tmp_path / "out"))
    second.configure_model()
    torch.testing.assert_close(trained_logps(second), trained_logps(first), rtol=1e-5, atol=1e-5)
    scores = second.score(collate_padded(PAIRS))
    assert torch.equal(scores.chosen_logratio.detach(), torch.zeros(3))  # the reference is the trained adapter
    assert {name.split(".")[-2] for name in second.state_dict()} == {"default"}


def test_beside_checkpoints_if_asked(tmp_path):
    saving = pl.callbacks.ModelCheckpoint(dirpath=tmp_path / "ckpt", every_n_train_steps=2, save_top_k=-1)
    export = Export(str(tmp_path / "out"), every_checkpoint=True)
    run = trainer(callbacks=[saving, export], enable_checkpointing=True, max_steps=4)
    run.fit(module(saved_model(tmp_path / "model")), data(tmp_path))
    assert sorted(path.name for path in tmp_path.glob("out*")) == ["out", "out-step-2", "out-step-4"]


def test_an_earlier_export_is_replaced_whole(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/stale").write_text("")
    (tmp_path / "out/config.json").write_text("{}")
    fit(tmp_path, Export(str(tmp_path / "out")))
    assert json.loads((tmp_path / "out/config.json").read_text())["model_type"] == "llama"
    assert not (tmp_path / "out/stale").exists()
    assert not list(tmp_path.glob(".out*"))


def test_a_failing_export_leaves_the_earlier_one(tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/earlier").write_text("")
    (tmp_path / "out/config.json").write_text("{}")
    policy = type(tiny_llama())

    def broken(self, directory, **settings):
        Path(directory).mkdir()
        raise OSError("disk full")

    monkeypatch.setattr(policy, "save_pretrained", broken)
    with pytest.raises(OSError, match="disk full"):
        trainer(callbacks=[Export(str(tmp_path / "out"))], max_steps=1).fit(module(), data(tmp_path))
    assert [path.name for path in tmp_path.glob("*out*")] == ["out"]
    assert (tmp_path / "out/earlier").exists()


def test_a_directory_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/step=2.ckpt").write_text("precious")
    with pytest.raises(InputError, match="holds no model"):
        trainer(callbacks=[Export(str(tmp_path / "checkpoints"))]).fit(module(), data(tmp_path))
    with pytest.raises(InputError, match="holds no model"):
        export([str(tmp_path / "checkpoints/step=2.ckpt"), "--out", str(tmp_path / "checkpoints")])
    assert (tmp_path / "checkpoints/step=2.ckpt").read_text() == "precious"


def test_what_cannot_be_exported_is_refused_before_training(tmp_path):
    run = trainer(callbacks=[Export(str(tmp_path / "out"), merged_path=str(tmp_path / "merged"))])
    with pytest.raises(InputError, match="no adapter to merge"):
        run.fit(module(), data(tmp_path))
    assert run.global_step == 0


@pytest.mark.parametrize("given", [{"path": ""}, {"merged_path": "."}, {"path": "x", "merged_path": "/"}])
def test_a_path_without_a_name_is_refused_before_a_run(given: Any) -> None:
    with pytest.raises(InputError, match=r"^Export\.(merged_)?path: '[./]?' is no name of a directory: give one"):
        Export(**given)


def test_an_export_has_a_model_card_of_its_run(tmp_path: Path) -> None:
    export = Export(str(tmp_path / "model"))
    trainer(max_epochs=1, max_steps=-1, callbacks=[export]).fit(module(lora=LoRA(r=2)), data(tmp_path))

    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert "DPO(beta=0.1" in card
    assert "6 steps" in card
    assert "val/loss" in card
    assert "More Information Needed" not in card


def test_nothing_that_the_card_lacks_loses_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = KeptElsewhere(write_rows(tmp_path / "a.jsonl"), tiny_tokenizer())
    trainer(max_steps=1, callbacks=[Export(str(tmp_path / "kept"))]).fit(module(), source)
    card = (tmp_path / "kept/README.md").read_text(encoding="utf-8")
    assert "| objective | DPO(" in card
    assert (tmp_path / "kept/model.safetensors").is_file()

    def without_facts(card: Card, *args: Any, **kwargs: Any) -> str:
        assert not card.facts, "a fact that cannot be shown"
        return "a card"

    monkeypatch.setattr("dpo_lightning.policy.export.model_card", without_facts)
    fit(tmp_path, Export(str(tmp_path / "out")))
    assert (tmp_path / "out/README.md").read_text(encoding="utf-8") == "a card"
    assert (tmp_path / "out/model.safetensors").is_file()


def test_it_is_pushed_when_it_is_on_disk_with_samples_on_its_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = SampleTable(prompts=3, samples_per_prompt=1, max_new_tokens=4, shown=0)
    with reached_hub(monkeypatch) as hub:
        export = Export(str(tmp_path / "out"), push_to="me/out", private=True, samples=2)
        run = trainer(callbacks=[export, table], logger=CSVLogger(tmp_path), max_steps=1)
        run.fit(module(saved_model(tmp_path / "model")), data(tmp_path))
        written = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
        assert hub.files["me/out", "main"] == written
        card = written["README.md"].decode()
        assert card.count("* **prompt:** ") == 2
        assert card.count("    * policy: ") == 2
        assert "[arXiv:2305.18290](https://arxiv.org/abs/2305.18290)" in card
        assert hub.private["me/out"] in (True, "private")
        hub.role = "read"
        late = Export(str(tmp_path / "late"), push_to="me/out")
        with pytest.raises(InputError, match=r"Export\.push_to me/out: the token may only read"):
            trainer(callbacks=[late]).fit(module(), data(tmp_path))
        assert not (tmp_path / "late").exists()


def test_a_push_that_fails_leaves_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with reached_hub(monkeypatch) as hub:
        hub.broken = True
        export = Export(str(tmp_path / "out"), push_to="me/out")
        with pytest.raises(RunError, match="push it with `hf upload me/out "):
            trainer(callbacks=[export], max_steps=1).fit(module(), data(tmp_path))
    assert (tmp_path / "out/model.safetensors").is_file()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"private": True}, r"Export\.private is that of the repository in push_to"),
        ({"revision": "x"}, r"Export\.revision is that of the repository in push_to"),
        ({"push_to": "my model"}, r"Export\.push_to: 'my model' is no name of a repository"),
        ({"samples": -1}, r"Export\.samples"),
    ],
)
def test_what_cannot_be_pushed_is_refused(given: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Export("out", **given)
