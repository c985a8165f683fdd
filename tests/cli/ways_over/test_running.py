"""How a run goes: each of the fields in what it becomes, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from dpo_lightning.errors import InputError
from tests.helpers.ways_over import at, callback, of_trl, said


@pytest.mark.parametrize(
    ("fields", "written"),
    [
        ({}, {"trainer.max_epochs": 3, "trainer.max_steps": None}),
        ({"max_steps": 50, "num_train_epochs": 2}, {"trainer.max_steps": 50, "trainer.max_epochs": -1}),
        ({"seed": 7}, {"seed_everything": 7, "data.seed": 7}),
        (
            {"data_seed": 3, "full_determinism": True},
            {"seed_everything": 42, "data.seed": 3, "trainer.deterministic": True},
        ),
        ({}, {"trainer.precision": "bf16-mixed"}),
        ({"bf16": False}, {"trainer.precision": "32-true"}),
        ({"fp16": True}, {"trainer.precision": "16-mixed"}),
        ({"dtype": "bfloat16"}, {"trainer.precision": "bf16-true"}),
        ({"torch_dtype": None}, {"trainer.precision": "bf16-mixed"}),
        ({"dtype": "float16", "fp16": True}, {"trainer.precision": "16-true"}),
        ({"dtype": "bfloat16", "use_peft": True, "load_in_4bit": True}, {"trainer.precision": "bf16-mixed"}),
        ({"use_cpu": True}, {"trainer.accelerator": "cpu"}),
        ({}, {"model.gradient_checkpointing": True}),
        ({"activation_checkpointing": False}, {"model.gradient_checkpointing": False}),
        ({"activation_offloading": True}, {"model.gradient_checkpointing": "offload"}),
        ({"max_grad_norm": 0}, {"trainer.gradient_clip_val": None}),
        ({"eval_strategy": "epoch"}, {"trainer.check_val_every_n_epoch": 1, "data.val_split": "test"}),
        (
            {"eval_strategy": "steps", "eval_steps": 20, "gradient_accumulation_steps": 4},
            {"trainer.val_check_interval": 80, "data.eval_batch_pairs": 8},
        ),
        ({"eval_strategy": "steps"}, {"trainer.val_check_interval": 10}),  # logging_steps
        ({"eval_strategy": "steps", "eval_steps": 0.1, "max_steps": 200}, {"trainer.val_check_interval": 20}),
        ({"logging_steps": 5}, {"trainer.log_every_n_steps": 5}),
    ],
)
def test_a_field_becomes_a_key(fields: dict[str, Any], written: dict[str, Any]) -> None:
    draft = of_trl(**fields)
    assert {path: at(draft, path) for path in written} == written


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"num_train_epochs": 0.5}, "num_train_epochs 0.5 (a part of an epoch: give max_steps"),
        ({"bf16": True, "fp16": True}, "fp16 True (bf16 is on as well"),
        ({"dtype": "float16"}, "dtype float16 (weights in float16 under another autocast"),
        ({"eval_strategy": "steps", "eval_steps": 0.1}, "eval_steps 0.1 (a share of the run"),
        ({"eval_strategy": "steps", "eval_on_start": True}, "eval_on_start True (run `dpo-lightning validate"),
        ({"eval_delay": 3}, "eval_delay 3 ("),
        ({"logging_strategy": "epoch"}, "logging_strategy epoch ("),
        ({"report_to": "trackio"}, "report_to (no logger for trackio; there are tensorboard"),
        ({"report_to": "all"}, "no logger for all"),
        ({"deepspeed": "zero3.json"}, "deepspeed zero3.json (merge configs/hardware/fsdp2.yaml"),
        ({"fsdp": "full_shard"}, "fsdp full_shard (merge"),
        ({"tf32": True}, "tf32 True (call torch.set_float32_matmul_precision"),
        ({"neftune_noise_alpha": 5}, "neftune_noise_alpha 5 ("),
        ({"resume_from_checkpoint": "out/checkpoint-10"}, "`fit --ckpt_path last`"),
    ],
)
def test_what_has_no_equal_is_refused(fields: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError) as raised:
        of_trl(**fields)
    assert line in str(raised.value)
    assert "\n" not in str(raised.value)


def test_checkpoints_and_the_model_have_their_places() -> None:
    draft = of_trl(output_dir="out", save_steps=50, save_total_limit=3)
    assert callback(draft, "ResumableCheckpoint") == {
        "dirpath": "out/checkpoints",
        "every_n_train_steps": 50,
        "keep": 3,
    }
    assert callback(draft, "Export") == {"path": "out/model"}
    assert at(draft, "trainer.default_root_dir") == "out"
    assert callback(of_trl(save_strategy="epoch"), "ResumableCheckpoint") == {
        "dirpath": "trainer_output/checkpoints",
        "keep": 2,
    }
    assert at(of_trl(save_strategy="no"), "trainer.enable_checkpointing") is False
    assert "at the end of each epoch" in said(of_trl(save_steps=0.5), "save_steps")
    weights = callback(of_trl(save_only_model=True), "ModelCheckpoint")
    assert weights["save_weights_only"] is True
    assert weights["save_top_k"] == -1


def test_the_best_is_kept_and_exported() -> None:
    draft = of_trl(
        load_best_model_at_end=True,
        metric_for_best_model="eval_rewards/accuracies",
        eval_strategy="steps",
        save_strategy="best",
    )
    assert callback(draft, "Export")["best"] is True
    best = callback(draft, "ModelCheckpoint")
    assert (best["monitor"], best["mode"]) == ("val/rewards/accuracies", "max")
    assert callback(of_trl(save_strategy="best"), "ModelCheckpoint")["mode"] == "min"  # of the loss


def test_services_have_loggers() -> None:
    found = at(of_trl(report_to=["wandb", "tensorboard", "mlflow", "comet_ml"], run_name="r"), "trainer.logger")
    assert [each["class_path"] for each in found] == [
        *("CSVLogger", "WandbLogger", "TensorBoardLogger", "MLFlowLogger", "CometLogger")
    ]
    assert [each["init_args"].get("name", each["init_args"].get("run_name")) for each in found] == [
        *(None, "r", None, "r", "r")
    ]
    assert said(of_trl(run_name="r"), "run_name").startswith("no effect there")


def test_a_strategy_is_written_where_it_is_asked_for() -> None:
    assert at(of_trl(), "trainer.strategy") is None
    draft = of_trl(ddp_timeout=5400, ddp_static_graph=True)
    assert at(draft, "trainer.strategy.init_args") == {"static_graph": True, "timeout": "1:30:00"}


def test_what_is_not_read_there_is_told() -> None:
    draft = of_trl(max_steps=5, num_train_epochs=2, eval_steps=5, logging_first_step=True)
    assert said(draft, "num_train_epochs") == "no effect there: max_steps comes before it"
    assert said(draft, "eval_steps").startswith("no effect there: eval_strategy is no")
    assert said(draft, "logging_first_step").startswith("differs")
