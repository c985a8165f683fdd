"""Real configs of TRL, converted by the command, with a tiny model in their place: 20 losses equal those of TRL."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DatasetMixtureConfig, DPOConfig, ModelConfig, ScriptArguments, TrlParser, get_peft_config

from dpo_lightning.cli.data_of_config import data_of_config
from dpo_lightning.cli.main import main
from tests.helpers.runs import Losses, saved_model
from tests.parity.trl_side import RecordingTrainer
from tests.parity.worlds import letter_rows

CONFIGS = Path(__file__).parents[1] / "cli/ways_over/trl/configs"
STEPS = 20
# What is replaced: model and data, the precision, and the rate, at which a tiny model learns something in 20 batches.
LOCAL: dict[str, Any] = {
    "model_name_or_path": "model",
    "dataset_name": "pairs.jsonl",
    "eval_strategy": "no",
    "bf16": False,
    "learning_rate": 3e-3,
    "use_cpu": True,
    "save_strategy": "no",
    "output_dir": "out",
    "report_to": "none",
}
GONE = (
    *("dataset_mixture", "push_to_hub", "hub_model_id", "hub_model_revision", "hub_strategy", "torch_dtype"),
    *("model_revision", "attn_implementation", "trust_remote_code", "use_liger_kernel", "dataset_num_proc"),
    *("save_steps", "save_total_limit", "eval_steps", "do_eval", "run_name"),
)
NOT_IN_1_16 = ("max_prompt_length", "overwrite_output_dir")


class Kept(Losses):
    """Keeps the losses of the last run, whoever made the callback."""

    last: list[float]

    def __init__(self) -> None:
        super().__init__()
        Kept.last = self.losses


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    there = tmp_path_factory.mktemp("from_trl")
    saved_model(there / "model", num_hidden_layers=1)
    return there


@pytest.fixture
def here(world: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with the model; adapters begin alike on both sides, whatever has drawn numbers before."""
    monkeypatch.chdir(world)
    monkeypatch.setattr("sys.argv", ["dpo-lightning"])

    def filled(weight: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        values = torch.randn(weight.shape, generator=torch.Generator().manual_seed(3)) * 0.3
        return weight.data.copy_(values)

    monkeypatch.setattr("torch.nn.init.kaiming_uniform_", filled)
    return world


def of_theirs(name: str, **more: Any) -> dict[str, Any]:
    """A config as it stands in their repository, but for what is replaced."""
    config = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    kept = {key: value for key, value in config.items() if key not in GONE}
    return {**kept, **LOCAL, **more}


def ours(config: dict[str, Any], rows: list[dict[str, str]]) -> tuple[list[float], list[dict[str, str]]]:
    """Convert and fit by the commands; return the losses, and the rows in the order in which they came."""
    Path("theirs.yaml").write_text(yaml.safe_dump(config))
    Path("pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("run.yaml").unlink(missing_ok=True)
    main(["import", "trl", "theirs.yaml", "--out", "run.yaml"])
    data = data_of_config(["--config", "run.yaml"]).data
    data.setup("fit")
    order = [row for batch in data.train_dataloader() for row in batch.row_ids.tolist()]
    kept = f"--trainer.callbacks+={Kept.__module__}.{Kept.__qualname__}"
    quiet = [f"--trainer.limit_train_batches={STEPS}", "--trainer.max_epochs=1", "--trainer.logger=false"]
    main(["fit", "--config", "run.yaml", kept, *quiet])
    accumulated = config.get("gradient_accumulation_steps", 1)  # Lightning divides by it before the callback
    return [loss * accumulated for loss in Kept.last], [rows[place] for place in order]


def theirs(config: dict[str, Any], rows: list[dict[str, str]]) -> list[float]:
    """TRL's own parser reads the config, and its trainer runs on the rows as they come."""
    if "warmup_ratio" in config:  # as 1.16 has it
        config = {**config, "warmup_steps": config["warmup_ratio"]}
    known = {name: value for name, value in config.items() if name not in (*NOT_IN_1_16, "warmup_ratio")}
    Path("trl.yaml").write_text(yaml.safe_dump({**known, "train_sampling_strategy": "sequential"}))
    parser = TrlParser((ScriptArguments, DPOConfig, ModelConfig, DatasetMixtureConfig))
    _, arguments, model, _ = parser.parse_args_and_config(["--config", "trl.yaml"])
    arguments.logging_strategy = "no"
    trainer = RecordingTrainer(
        model=AutoModelForCausalLM.from_pretrained("model", dtype=torch.float32),
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained("model"),
        peft_config=get_peft_config(model),
    )
    trainer.train()
    return trainer.losses


def assert_losses_agree(name: str, **more: Any) -> list[float]:
    config = of_theirs(name, **more)
    rows = letter_rows(
        STEPS * config["per_device_train_batch_size"], prompt=range(2, 12), chosen=range(2, 9), rejected=range(2, 9)
    )
    mine, ordered = ours(config, rows)
    others = theirs({**config, "num_train_epochs": 1}, ordered)
    assert len(mine) == len(others) == STEPS
    assert mine == pytest.approx(others, rel=1e-4)
    assert max(mine) - min(mine) > 0.01, "the policy must learn something, or this proves nothing"
    return mine


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("zephyr", {}),  # 2 micro-batches a step, a warm-up, half a cosine
        ("scan_ipo", {"learning_rate": 3e-4}),
        ("smollm3", {"per_device_train_batch_size": 4}),  # APO, a cosine with a floor, gradients clipped at 0.2
        ("script_lora", {"max_steps": -1, "learning_rate": 0.05, "gradient_accumulation_steps": 4}),
    ],
)
def test_the_first_losses_are_those_of_trl(here: Path, name: str, more: dict[str, Any]) -> None:
    assert_losses_agree(name, **more)
