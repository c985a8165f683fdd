"""Checkpoints become models that plain transformers and peft load, and shards become one file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from dpo_lightning import LoRA, PreferenceModule
from dpo_lightning.callbacks import Export, KeepRecord, ResumableCheckpoint
from dpo_lightning.cli.main import main
from dpo_lightning.errors import InputError
from tests.helpers.hub import reached_hub
from tests.helpers.runs import data, module, saved_model, trainer
from tests.helpers.shards import write_shards


def run(path: Path, **settings: Any) -> Path:
    """A run that saves a checkpoint and exports what the command should export, too."""
    export = Export(str(path / "expected"), merged_path=str(path / "expected_merged") if "lora" in settings else None)
    saving = ResumableCheckpoint(str(path / "checkpoints"), every_n_train_steps=3)
    precision = settings.pop("precision", "32-true")
    model = module(saved_model(path / "model"), lr=1e-2, **settings)
    fitting = trainer(callbacks=[export, saving], enable_checkpointing=True, precision=precision)
    fitting.fit(model, data(path, tokenizer=None))
    return path / "checkpoints/step=3.ckpt"


def shards_of(file: Path) -> Path:
    checkpoint = torch.load(file, weights_only=True)
    return write_shards(checkpoint, file.parent.parent / "shards")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a run."""
    return run(tmp_path_factory.mktemp("trained"))


def same_files(one: Path, other: Path) -> bool:
    """Whether two exports are the same, their cards aside, which name their directory and what is known of the run."""
    names = {path.name for path in one.iterdir()}
    return names == {path.name for path in other.iterdir()} and all(
        (one / name).read_bytes() == (other / name).read_bytes() for name in names - {"README.md"}
    )


@pytest.mark.parametrize("precision", ["32-true", "bf16-true"])
def test_a_full_model_is_what_the_callback_exports(tmp_path, precision):
    checkpoint = run(tmp_path, precision=precision)
    for source in (checkpoint, shards_of(checkpoint)):
        main(["export", str(source), "--out", str(tmp_path / "out")])
        assert same_files(tmp_path / "out", tmp_path / "expected")
    assert AutoTokenizer.from_pretrained(tmp_path / "out").eos_token == "</s>"


def test_an_adapter_and_the_merged_weights(tmp_path):
    checkpoint = shards_of(run(tmp_path, lora=LoRA(r=4)))
    main(["export", str(checkpoint), "--out", str(tmp_path / "adapter")])
    main(["export", str(checkpoint), "--out", str(tmp_path / "merged"), "--merged"])
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    adapted = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    tokens = torch.arange(3, 20).unsqueeze(0)
    torch.testing.assert_close(merged(tokens).logits, adapted(tokens).logits, rtol=1e-4, atol=1e-4)
    for name, file in (("adapter", "adapter_model.safetensors"), ("merged", "model.safetensors")):
        expected = load_file(tmp_path / ("expected" if name == "adapter" else "expected_merged") / file)
        found = load_file(tmp_path / name / file)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], value) for key, value in expected.items())


def test_shards_become_a_file_that_a_run_goes_on_from(tmp_path, capsys):
    checkpoint = run(tmp_path)
    main(["export", str(shards_of(checkpoint)), "--checkpoint", str(tmp_path / "one.ckpt")])
    assert "checkpoint for one process in" in capsys.readouterr().out
    weights = []
    for start in (checkpoint, tmp_path / "one.ckpt"):
        model = module(str(tmp_path / "model"), lr=1e-2)
        trainer(max_steps=5).fit(model, data(tmp_path, tokenizer=None), ckpt_path=start)
        assert model.trainer.global_step == 5
        weights.append(model.state_dict())
    assert all(torch.equal(weights[1][name], value) for name, value in weights[0].items())


def test_the_config_names_tokenizer_and_template(tmp_path):
    checkpoint = run(tmp_path)
    (tmp_path / "chat.jinja").write_text("{{ enable_thinking }}{{ messages[0].content }}")
    settings = {"tokenizer": str(tmp_path / "expected"), "chat_template": str(tmp_path / "chat.jinja")}
    settings |= {"chat_template_kwargs": {"enable_thinking": False}}
    config = {"model": {"init_args": {"lora": None}, "class_path": "PreferenceModule"}, "data": settings}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    main(["export", str(checkpoint), "--out", str(tmp_path / "out"), "--config", str(tmp_path / "run.yaml")])
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    ask = [{"role": "user", "content": "q"}]
    assert tokenizer.apply_chat_template(ask, tokenize=False) == "Falseq"
    assert tokenizer.apply_chat_template(ask, tokenize=False, enable_thinking=True) == "Trueq"


@pytest.mark.parametrize("record", ["{", "[1]", "[" * 100_000, '{"model": 3, "data": {"train": "x"}, "optimizer": {}}'])
def test_a_damaged_record_ends_no_export(trained: Path, tmp_path: Path, record: str) -> None:
    (tmp_path / "record").mkdir()
    (tmp_path / "record" / "run.json").write_text(record)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({"model": {"class_path": "PreferenceModule"}, "data": {}}))
    main(["export", str(trained), "--out", str(tmp_path / "out"), "--config", str(tmp_path / "run.yaml")])
    assert "trained with preferences" in (tmp_path / "out" / "README.md").read_text()


def test_without_a_tokenizer_it_says_so(tmp_path, capsys):
    checkpoint = run(tmp_path)
    for path in (tmp_path / "model").glob("tokenizer*"):
        path.unlink()
    main(["export", str(checkpoint), "--out", str(tmp_path / "out")])
    assert "no tokenizer beside the model" in capsys.readouterr().err
    assert (tmp_path / "out/model.safetensors").is_file()


def test_another_dtype(tmp_path):
    checkpoint = run(tmp_path, lora=LoRA(r=4))
    main(["export", str(checkpoint), "--out", str(tmp_path / "merged"), "--merged", "--dtype", "float16"])
    written = load_file(tmp_path / "merged/model.safetensors")
    assert {value.dtype for value in written.values()} == {torch.float16}
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "merged").dtype == torch.float16
    with pytest.raises(SystemExit, match="dtype 'int8' is not known"):
        main(["export", str(checkpoint), "--out", str(tmp_path / "out"), "--dtype", "int8"])


@pytest.mark.parametrize("lora", [None, LoRA(r=4)], ids=["whole", "adapter"])
def test_the_policys_own_directory_is_refused(tmp_path, monkeypatch, lora):
    checkpoint = run(tmp_path, **({"lora": lora} if lora else {}))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "model")
    before = (tmp_path / "model/model.safetensors").read_bytes()
    for out in (tmp_path / "model", "model/.", "link"):
        with pytest.raises(SystemExit, match="that is where the run reads its model from"):
            main(["export", str(checkpoint), "--out", str(out)])
    assert (tmp_path / "model/model.safetensors").read_bytes() == before


def test_damaged_shards_are_named(tmp_path):
    shards = shards_of(run(tmp_path))
    (shards / "manifest.json").write_text('{"files": {"meta.pt": [1, 1]}}')
    with pytest.raises(InputError, match=r"its file meta\.pt is corrupt"):
        export_directly(shards, tmp_path)


def test_what_makes_no_sense_is_refused(tmp_path):
    checkpoint = run(tmp_path)
    with pytest.raises(SystemExit, match="say what to write: --out DIR, --checkpoint FILE"):
        main(["export", str(checkpoint)])
    with pytest.raises(SystemExit, match="is no directory of shards: leave the option out"):
        main(["export", str(checkpoint), "--checkpoint", str(tmp_path / "one.ckpt")])
    with pytest.raises(SystemExit, match="the policy has no adapter to merge"):
        main(["export", str(checkpoint), "--out", str(tmp_path / "out"), "--merged"])
    with pytest.raises(SystemExit, match="no such file"):
        main(["export", str(tmp_path / "none.ckpt"), "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit, match="export --config"):
        main(["export", str(checkpoint), "--out", str(tmp_path / "out"), "--config", str(tmp_path / "none.yaml")])
    assert not (tmp_path / "out").exists()


def export_directly(source: Path, path: Path) -> None:
    from dpo_lightning.cli.commands.export import export

    export([str(source), "--out", str(path / "out")])


def test_an_adapter_is_not_exported_from_another_base(tmp_path):
    checkpoint = run(tmp_path, lora=LoRA(r=4))
    saved_model(tmp_path / "model", seed=9)
    for source in (checkpoint, shards_of(checkpoint)):
        for words in (["--merged"], []):
            with pytest.raises(SystemExit, match=r"error: .*was trained on other base weights than this run's policy"):
                main(["export", str(source), "--out", str(tmp_path / "out"), *words])
    assert not (tmp_path / "out").exists()


def test_the_best_or_the_last_checkpoint_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is monitored is least after step 2, so that this is the best, and step 3 the last."""
    losses = iter([0.5, 0.1, 0.9])

    def measured(module: PreferenceModule) -> None:
        value = torch.tensor(next(losses))
        module.log_dict({"picked": value, "val/loss": value})

    monkeypatch.setattr(PreferenceModule, "on_validation_epoch_end", measured)
    monitored = ModelCheckpoint(tmp_path / "best", monitor="picked", save_on_train_epoch_end=False)
    last = ResumableCheckpoint(str(tmp_path / "last"), every_n_train_steps=1)
    exports = [Export(str(tmp_path / "at_the_end")), Export(str(tmp_path / "best_at_the_end"), best=True)]
    fitting = trainer(
        callbacks=[monitored, last, *exports, KeepRecord()],
        enable_checkpointing=True,
        logger=CSVLogger(tmp_path, "", "run"),
        val_check_interval=1,
        num_sanity_val_steps=0,
    )
    fitting.fit(module(saved_model(tmp_path / "model"), lr=1e-2), data(tmp_path))
    run = str(tmp_path / "run")
    for which in ("last", "best"):
        main(["export", run, "--which", which, "--out", str(tmp_path / which / "model")])
    main(["export", run, "--out", str(tmp_path / "default")])
    found = {
        name: load_file(tmp_path / name / "model.safetensors")
        for name in ("at_the_end", "last/model", "best/model", "default")
    }
    key = "model.embed_tokens.weight"
    assert torch.equal(found["last/model"][key], found["at_the_end"][key])
    assert torch.equal(found["default"][key], found["at_the_end"][key])
    assert not torch.equal(found["best/model"][key], found["at_the_end"][key])
    saved = torch.load(monitored.best_model_path, weights_only=True)
    assert saved["global_step"] == 2
    for name, steps, value in (
        ("best/model", 2, 0.1),
        ("best_at_the_end", 2, 0.1),
        ("last/model", 3, 0.9),
        ("at_the_end", 3, 0.9),
    ):
        card = (tmp_path / name / "README.md").read_text(encoding="utf-8")
        assert "| objective | DPO(" in card
        assert f", {steps} steps" in card, name
        assert f"| val/loss | {value} |" in card, name
    assert torch.equal(found["best/model"][key], saved["state_dict"][f"policy.{key}"])
    with pytest.raises(SystemExit, match=r"error: export --which: .* is no directory of a run"):
        main(["export", monitored.best_model_path, "--which", "best", "--out", str(tmp_path / "out")])
    Path(monitored.best_model_path).unlink()
    with pytest.raises(SystemExit, match="names no best checkpoint that is there: give its file"):
        main(["export", run, "--which", "best", "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_is_pushed_once_it_is_a_model(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with reached_hub(monkeypatch) as hub:
        main(["export", str(trained), "--out", str(tmp_path / "out"), "--push_to", "me/m", "--revision", "step-3"])
        assert hub.files["me/m", "step-3"].keys() == {path.name for path in (tmp_path / "out").iterdir()}
        assert f"pushed to {hub.url}/me/m" in capsys.readouterr().out
        hub.role = "read"
        with pytest.raises(SystemExit, match="error: export --push_to me/m: the token may only read"):
            main(["export", str(trained), "--out", str(tmp_path / "other"), "--push_to", "me/m"])
    assert not (tmp_path / "other").exists()
    for words, said in (
        (["--private"], "export --private is that of the repository in --push_to"),
        (["--revision", "x"], "export --revision is that of the repository in --push_to"),
        (["--samples", "-1"], "export --samples"),
    ):
        with pytest.raises(SystemExit, match=said):
            main(["export", str(trained), "--out", str(tmp_path / "other"), *words])
    with pytest.raises(SystemExit, match="say where the model is written before: --out DIR"):
        main(["export", str(trained), "--checkpoint", str(tmp_path / "c.ckpt"), "--push_to", "me/m"])
