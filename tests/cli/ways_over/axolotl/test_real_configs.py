"""Real configs of axolotl on tiny stand-ins: converted, run, and compared with what axolotl would set in TRL."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import DPOConfig

from dpo_lightning.cli.main import main
from tests.cli.ways_over.stand_ins import CHATML, LLAMA3, ROWS, STEPS, Recorder, by_step, model, pair, run
from tests.parity.trl_side import RecordingTrainer

CONFIGS = Path(__file__).parent / "configs"
# In float32 on a GPU, quantised, or by a library that is not here: the same run in float64 on a CPU.
ON_CPU = {"optimizer": "adamw_torch", "load_in_4bit": False, "load_in_8bit": False, "bf16": False, "adapter": "lora"}
ON_CPU |= {"learning_rate": 5e-3, "micro_batch_size": 2, "gradient_accumulation_steps": 1}  # of a model so small


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["dpo-lightning"])
    return tmp_path


def converted(name: str, **changes: Any) -> dict[str, Any]:
    """Convert a config with stand-ins for what is not here; the config as axolotl would read it."""
    config = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    config = {key: ON_CPU.get(key, value) for key, value in config.items()} | changes
    config["datasets"] = [{**each, "path": "rows.jsonl"} for each in config["datasets"]]
    Path("theirs.yaml").write_text(yaml.safe_dump(config))
    main(["import", "axolotl", "theirs.yaml", "--out", "ours.yaml"])
    return config


def write(rows: list[dict[str, Any]]) -> None:
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def conversations() -> None:
    """Rows as fozziethebeat/alpaca_messages_2k_dpo_test has them."""
    rows = [
        [{"role": r, "content": c} for r, c in zip(("user", "assistant", "assistant"), pair(n), strict=True)]
        for n in range(ROWS)
    ]
    write([{"conversation": [asked], "chosen": good, "rejected": bad} for asked, good, bad in rows])


def as_axolotl_writes(number: int) -> dict[str, str]:
    """ChatML by `chat_template.default`: two texts that end with the end of their turn."""
    asked, good, bad = pair(number)
    prompt = f"<|im_start|>user\n{asked}<|im_end|>\n<|im_start|>assistant\n"
    return {"prompt": prompt, "chosen": f"{good}<|im_end|>", "rejected": f"{bad}<|im_end|>"}


class Ends(TrainerCallback):
    """Ends a run after the compared steps, which leaves its schedule alone."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_training_stop = state.global_step >= STEPS


def theirs(config: dict[str, Any], peft_config: LoraConfig | None) -> list[float]:
    """Losses of TRL's DPOTrainer with what axolotl's builder sets, on our rows in our order."""
    total = config["num_epochs"] * ROWS // config["micro_batch_size"] // config["gradient_accumulation_steps"]
    args = DPOConfig(
        output_dir="theirs",
        loss_type=config.get("dpo_loss_type", ["sigmoid"]),
        loss_weights=config.get("dpo_loss_weights"),
        beta=config.get("rl_beta", 0.1),
        label_smoothing=config.get("dpo_label_smoothing", 0.0),
        max_length=config["sequence_len"],
        per_device_train_batch_size=config["micro_batch_size"],
        gradient_accumulation_steps=config["gradient_accumulation_steps"],
        learning_rate=config["learning_rate"],
        lr_scheduler_type=config["lr_scheduler"],
        warmup_steps=int(config["warmup_ratio"] * total),
        num_train_epochs=config["num_epochs"],
        optim=config["optimizer"],
        weight_decay=config["weight_decay"],
        bf16=False,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        train_sampling_strategy="sequential",
    )
    order = [row for rows in Recorder.rows for row in rows]
    trainer = RecordingTrainer(
        model=AutoModelForCausalLM.from_pretrained("model", dtype=torch.float64),
        ref_model=None if peft_config else AutoModelForCausalLM.from_pretrained("model", dtype=torch.float64),
        args=args,
        train_dataset=Dataset.from_list([as_axolotl_writes(row) for row in order]),
        processing_class=AutoTokenizer.from_pretrained("model"),
        peft_config=peft_config,
        callbacks=[Ends()],
    )
    missing = trainer.model.load_state_dict(Recorder.start, strict=False)
    assert not missing.unexpected_keys, "both begin with the same trained weights"
    trainer.train()
    accumulated = config["gradient_accumulation_steps"]
    return by_step([loss / accumulated for loss in trainer.losses], accumulated)


@pytest.mark.parametrize(
    "changes",
    [{"dpo_label_smoothing": 0.3}, {"dpo_loss_type": ["ipo", "hinge"], "dpo_loss_weights": [0.5, 1.0], "rl_beta": 0.4}],
    ids=["smoothing has no effect", "two losses"],
)
def test_full_fine_tuning_is_trl_for_twenty_steps(changes: dict[str, Any]) -> None:
    conversations()
    directory = Path(model(Path("model"), CHATML))
    template = (
        "{% for m in messages %}{{ '<|im_start|>' ~ m.role ~ '\\n' ~ m.content ~ '<|im_end|>' }}"
        "{{ '' if loop.last and not add_generation_prompt else '\\n' }}{% endfor %}"
        "{{ '<|im_start|>assistant\\n' if add_generation_prompt else '' }}"
    )
    tokens = AutoTokenizer.from_pretrained(directory)
    tokens.chat_template = template
    tokens.save_pretrained(directory)
    config = converted("qwen2_dpo", base_model="model", **changes)
    run(Path("ours.yaml"))
    losses = by_step(Recorder.losses, config["gradient_accumulation_steps"])
    assert len(losses) == STEPS
    assert max(losses) - min(losses) > 0.002, "it learns"
    assert losses == pytest.approx(theirs(config, None), abs=2e-5)


def test_adapters_are_trl_for_twenty_steps() -> None:
    conversations()
    model(Path("model"), CHATML)
    config = converted("mistral_dpo_qlora", base_model="model", special_tokens={}, val_set_size=0)
    run(Path("ours.yaml"))
    losses = by_step(Recorder.losses, config["gradient_accumulation_steps"])
    adapters = LoraConfig(
        r=config["lora_r"],
        lora_alpha=config["lora_alpha"],
        lora_dropout=config["lora_dropout"],
        target_modules="all-linear",
        modules_to_save=config["lora_modules_to_save"],
        task_type="CAUSAL_LM",
    )
    assert losses == pytest.approx(theirs(config, adapters), abs=2e-5)


def test_kto_runs_and_begins_where_theirs_does() -> None:
    rows = [pair(number) for number in range(ROWS)]
    write([{"prompt": asked, "completion": good, "label": n % 2 == 0} for n, (asked, good, _) in enumerate(rows)])
    model(Path("model"), LLAMA3)
    config = converted("llama3_kto_qlora", base_model="model", special_tokens={})
    run(Path("ours.yaml"), steps=3)
    wanted = [config["kto_desirable_weight"] if row % 2 == 0 else 1.0 for row in Recorder.rows[0]]
    assert Recorder.losses[0] == pytest.approx(0.5 * sum(wanted) / len(wanted)), "no policy has left its reference"


def test_orpo_runs_and_begins_with_the_likelihood_of_the_chosen() -> None:
    rows = [
        [{"role": "user", "content": a}, {"role": "assistant", "content": b}]
        for n in range(ROWS)
        for a, b, _ in [pair(n)]
    ]
    bad = [[row[0], {"role": "assistant", "content": pair(n)[2]}] for n, row in enumerate(rows)]
    write(
        [{"prompt": row[0]["content"], "chosen": row, "rejected": worse} for row, worse in zip(rows, bad, strict=True)]
    )
    model(Path("model"), CHATML)
    config = converted("mistral_orpo_qlora", base_model="model")
    run(Path("ours.yaml"), steps=2)
    made = AutoModelForCausalLM.from_pretrained("model", dtype=torch.float64)
    tokens = AutoTokenizer.from_pretrained("model")
    wanted = [orpo(made, tokens, as_axolotl_writes(row), config["orpo_alpha"]) for row in Recorder.rows[0]]
    accumulated = config["gradient_accumulation_steps"]
    assert Recorder.losses[0] * accumulated == pytest.approx(sum(wanted) / len(wanted), abs=1e-6)


def orpo(made: Any, tokens: Any, row: dict[str, str], weight: float) -> float:
    """ORPO's loss of a row, by its equation."""
    means = []
    for side in ("chosen", "rejected"):
        prompt, answer = tokens(row["prompt"])["input_ids"], tokens(row[side] + "</s>")["input_ids"]
        with torch.no_grad():
            logps = made(torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
        scored = [logps[len(prompt) - 1 + n, token] for n, token in enumerate(answer)]
        means.append(torch.stack(scored).mean())
    odds = [mean - torch.log1p(-mean.exp()) for mean in means]
    return float(-means[0] - weight * torch.nn.functional.logsigmoid(odds[0] - odds[1]))
