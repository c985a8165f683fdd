"""A config to begin with: for each kind of data it runs as it was written."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from dpo_lightning.cli.main import main
from tests.helpers.runs import rows, saved_model

KINDS = {
    "pairs": lambda row, place: row,
    "labelled": lambda row, place: {
        "prompt": row["prompt"],
        "completion": row["chosen" if place % 2 else "rejected"],
        "label": bool(place % 2),
    },
    "lists": lambda row, place: {
        "prompt": row["prompt"],
        "completions": [row["chosen"], row["rejected"], " so"],
        "scores": [3.0, 1.0, 2.0],
    },
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    there = tmp_path_factory.mktemp("init")
    saved_model(there / "model")
    for name, shape in KINDS.items():
        shaped = [shape(row, place) for place, row in enumerate(rows(40))]
        (there / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in shaped))
    return there


@pytest.fixture
def here(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(project)
    monkeypatch.setattr(sys, "argv", ["dpo-lightning"])
    return project


def refusal(*words: str) -> str:
    before = sorted(Path().rglob("*"))
    with pytest.raises(SystemExit) as stopped:
        main(["init", *words])
    assert sorted(Path().rglob("*")) == before
    assert len(str(stopped.value.code).splitlines()) == 1
    return str(stopped.value.code)


def written(data: str, name: str, *words: str) -> dict[str, Any]:
    main(["init", "--model", "model", "--data", data, "--out", name, *words])
    found: dict[str, Any] = yaml.safe_load(Path(name).read_text())
    return found


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("kind", "words", "objective"),
    [
        ("pairs", ["--lora"], "DPO"),
        ("labelled", ["--full"], "KTO"),
        ("lists", ["--method", "plackettlucedpo"], "PlackettLuceDPO"),
    ],
)
def test_it_runs_as_written(here: Path, capsys: Any, kind: str, words: list[str], objective: str) -> None:
    config = written(f"{kind}.jsonl", f"{kind}.yaml", *words)
    said = capsys.readouterr().out
    assert f"dpo-lightning fit --config {kind}.yaml" in said
    assert config["model"]["objective"]["class_path"] == objective
    main(["fit", "--config", f"{kind}.yaml", "--trainer.enable_model_summary=false", "--trainer.max_epochs=1"])
    model = "adapter_model.safetensors" if "--lora" in words else "model.safetensors"
    assert Path("runs", kind, "model", model).exists()
    assert list(Path("runs", kind, "checkpoints").glob("step=*.ckpt"))


def test_a_loss_of_trl_is_the_same_loss(here: Path) -> None:
    config = written("pairs.jsonl", "trl.yaml", "--method", "ipo")
    assert config["model"]["objective"] == {"class_path": "IPO", "init_args": {"per_token": True}}


def test_values_follow_model_and_data(here: Path) -> None:
    full, lora = (written("pairs.jsonl", f"{how}.yaml", f"--{how}") for how in ("full", "lora"))
    rates = [each["model"]["optimizer"]["init_args"]["lr"] for each in (full, lora)]
    assert rates[1] == pytest.approx(10 * rates[0])
    assert "lora" not in full["model"]
    qlora = written("pairs.jsonl", "qlora.yaml", "--qlora", "--method", "SFT")
    assert qlora["model"]["quantization_config"]["load_in_4bit"] is True
    assert qlora["model"]["optimizer"]["init_args"]["lr"] == pytest.approx(20 * rates[1])
    assert full["data"]["max_length"] % 64 == 0
    assert all("#" in line for line in Path("full.yaml").read_text().splitlines() if "max_length" in line)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--data", "nowhere.jsonl"], "nowhere.jsonl"),
        (["--data", "pairs.jsonl", "--method", "simpoo"], "init --method: no objective simpoo; did you mean `SimPO`?"),
        (["--data", "pairs.jsonl", "--method", "Weighted"], "Weighted needs settings of its own"),
        (["--data", "labelled.jsonl", "--method", "dpo"], "objective DPO reads pairs"),
        (["--data", "pairs.jsonl", "--out", "model"], "init --out: model is there already"),
        (["--data", "pairs.jsonl", "--out", "run.json"], "init --out: run.json: a config is YAML"),
        (["--data", "pairs.jsonl", "--model", "nowhere/"], "nowhere/"),
    ],
)
def test_what_cannot_be_is_one_line(here: Path, words: list[str], line: str) -> None:
    assert line in refusal("--model", "model", *words)
