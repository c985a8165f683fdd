"""Values of a starting config, by what is known of model, data and machine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import yaml

from dpo_lightning.cli.methods import Method
from dpo_lightning.cli.starting_config import Facts, Training, starting_config

FACTS = Facts("m", 500_000_000, 32_768, "pairs.jsonl", 20_000, "pairs", [700] * 200, 1000, gpu=80.0)
CPU = replace(FACTS, gpu=None)


def reason(key: str, facts: Facts, training: Training | None = None) -> str:
    """What stands behind a value."""
    text = starting_config(facts, Method("DPO", {}), training or Training(), "runs/x")
    return next(line.partition(" # ")[2] for line in text.splitlines() if line.strip().startswith(f"{key}:"))


def config(facts: Facts, training: Training | None = None) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(starting_config(facts, Method("DPO", {}), training or Training(), "runs/x"))
    return found


def test_precision_follows_the_device() -> None:
    assert config(FACTS)["trainer"]["precision"] == "bf16-mixed"
    assert config(FACTS, Training(lora=True))["trainer"]["precision"] == "bf16-true"
    assert config(FACTS, Training(lora=True, quantized=True))["trainer"]["precision"] == "bf16-mixed"
    assert config(replace(FACTS, bf16=False))["trainer"]["precision"] == "16-mixed"
    assert config(replace(FACTS, gpu=None))["trainer"]["precision"] == "32-true"


def test_lengths_and_batches_follow_the_data() -> None:
    data = config(FACTS)["data"]
    assert (data["max_length"], data["batch_pairs"]) == (704, 8)
    assert config(replace(FACTS, lengths=[9000], positions=2048))["data"]["max_length"] == 2048
    assert config(replace(FACTS, computed=20_000))["data"]["batch_pairs"] == 1
    assert 0.9 * 64 <= data["batch_pairs"] * config(FACTS)["trainer"]["accumulate_grad_batches"] <= 64
    assert config(replace(FACTS, rows=1_000_000))["data"]["val_split"] == 0.001


def test_large_models_recompute_activations_and_take_smaller_rates() -> None:
    small, large = config(FACTS)["model"], config(replace(FACTS, parameters=7_000_000_000))["model"]
    assert "gradient_checkpointing" not in small
    assert large["gradient_checkpointing"] is True
    assert large["optimizer"]["init_args"]["lr"] < small["optimizer"]["init_args"]["lr"]


def test_few_rows_are_read_more_than_once() -> None:
    trainer = config(replace(FACTS, rows=60, computed=100))["trainer"]
    assert trainer["max_epochs"] == 3
    assert trainer["accumulate_grad_batches"] == 1
    assert "val_check_interval" not in trainer


def test_reasons_are_of_the_value_that_is_written() -> None:
    large, adapters, capped = replace(FACTS, parameters=7_000_000_000), Training(lora=True), [9000] * 30 + [70] * 70
    assert reason("precision", FACTS) == "computes in bfloat16; what is trained stays in float32"
    assert reason("precision", FACTS, adapters).startswith("weights in bfloat16")
    assert reason("precision", replace(FACTS, gpu=None), Training(True, True)) == "on a CPU; on a GPU bf16-mixed"
    assert reason("max_length", FACTS) == "99 % of the examples have 700 tokens or fewer"
    assert reason("max_length", replace(FACTS, lengths=capped, positions=2048)) == (
        "the model reads no more: 30 of 100 examples are longer, and cut"
    )
    assert reason("max_length", replace(FACTS, lengths=capped)).startswith("for memory; the model reads more: 30 of")
    assert reason("lr", large, adapters).startswith("usual on adapters is 1e-05 to 0.0002;")
    assert reason("lr", large).startswith("usual on all weights is 2e-07 to 5e-06;")
    # 1000 of 20,000 rows are held out; 8 x 8 examples a step
    assert reason("max_epochs", FACTS) == "about 297 optimizer steps each"


def test_4_bits_compute_as_the_run_does() -> None:
    for dtype, facts in {"bfloat16": FACTS, "float16": replace(FACTS, bf16=False), "float32": CPU}.items():
        model = config(facts, Training(lora=True, quantized=True))["model"]
        assert model["quantization_config"]["bnb_4bit_compute_dtype"] == dtype
    assert "for trying" in reason("load_in_4bit", CPU, Training(lora=True, quantized=True))
