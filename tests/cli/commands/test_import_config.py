"""`dpo-lightning import`, as a user meets it: a whole config or one line, and nothing half-written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from dpo_lightning.cli.main import main

CONFIG = {"model_name_or_path": "m", "dataset_name": "pairs.jsonl", "label_smoothing": 0.1}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def save(**fields: Any) -> None:
    Path("c.yaml").write_text(yaml.safe_dump({**CONFIG, **fields}))


def refusal(*words: str) -> str:
    before = sorted(Path().rglob("*"))
    with pytest.raises(SystemExit) as stopped:
        main(["import", *words])
    assert sorted(Path().rglob("*")) == before
    assert len(str(stopped.value.code).splitlines()) == 1
    return str(stopped.value.code)


def test_a_config_is_written_and_told(capsys: pytest.CaptureFixture[str]) -> None:
    save(beta=0.3)
    main(["import", "trl", "c.yaml", "--out", "mine/run.yaml"])
    said = capsys.readouterr()
    assert yaml.safe_load(Path("mine/run.yaml").read_text())["model"]["objective"]["init_args"] == {"beta": 0.3}
    assert said.err.splitlines()[:2] == ["mine/run.yaml:", "3 of 4 fields of TRL mean the same here"]
    assert "label_smoothing 0.1: TRL's sigmoid does not read it in DPO" in said.err
    assert "fit --config mine/run.yaml" in said.out
    assert [path.name for path in Path("mine").iterdir()] == ["run.yaml"]


def test_the_config_of_a_fit_is_the_same_twice() -> None:
    save()
    for name in ("a.yaml", "b.yaml"):
        main(["import", "trl", "c.yaml", "--out", name])
    assert Path("a.yaml").read_bytes() == Path("b.yaml").read_bytes()


@pytest.mark.parametrize(
    ("fields", "words", "line"),
    [
        ({}, ["tlr", "c.yaml"], "import: no tool tlr; did you mean trl?"),
        ({}, ["trl", "gone.yaml"], "config gone.yaml: there is no such file"),
        ({}, ["trl", "."], "a directory"),
        ({}, ["trl", "c.yaml", "--out", "c.yaml"], "import --out: c.yaml is there already"),
        ({}, ["trl", "c.yaml", "--out", "run.json"], "a config is YAML"),
        ({}, ["trl", "c.yaml", "--out", "c.yaml/run.yaml"], "c.yaml is a file"),
        ({}, ["trl", "c.yaml", "--leave_out", "beta"], "import --leave_out: config c.yaml has no field beta"),
        ({"betta": 1}, ["trl", "c.yaml"], "not known of TRL: betta (did you mean beta?)"),
        ({"hub_token": "hf_secret", "push_to_hub": True}, ["trl", "c.yaml"], "set HF_TOKEN"),
        ({"learning_rate": "fast"}, ["trl", "c.yaml"], 'learning_rate must be a number, got "fast"'),
        ({"beta": float("nan")}, ["trl", "c.yaml"], "beta"),
        ({"per_device_train_batch_size": 0}, ["trl", "c.yaml"], "batch_pairs must be at least 1, got 0"),
        ({"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"floor": 1}}, ["trl", "c.yaml"], "floor"),
        ({"lora_r": 0, "use_peft": True}, ["trl", "c.yaml"], "model.lora.r must be"),
        ({"seed": -1}, ["trl", "c.yaml"], "seed"),
        ({"deepspeed": "zero3.json", "fsdp": "full_shard"}, ["trl", "c.yaml"], "deepspeed zero3.json (merge"),
        ({"compute_environment": "LOCAL"}, ["trl", "c.yaml"], "a config of accelerate"),
    ],
)
def test_what_is_wrong_is_one_line(fields: dict[str, Any], words: list[str], line: str) -> None:
    save(**{"label_smoothing": 0.0, **fields})
    said = refusal(*words)
    assert line in said
    assert "hf_secret" not in said


def test_a_field_is_dropped_knowingly() -> None:
    save(neftune_noise_alpha=5, what=1)
    assert "neftune_noise_alpha 5 (" in refusal("trl", "c.yaml")
    main(["import", "trl", "c.yaml", "--leave_out", "neftune_noise_alpha", "--leave_out", "what"])
    assert Path("run.yaml").exists()
