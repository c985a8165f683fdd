"""Real configs of LLaMA-Factory on tiny stand-ins: converted, run, and compared with its trainer's computation.

LLaMA-Factory's trainer is not built on TRL's DPOTrainer: what it computes is written out here, on transformers and PEFT
alone. Source: `train/dpo/trainer.py`, `train/trainer_utils.py` (get_batch_logps), `data/template.py`.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from peft import LoraConfig, get_peft_model
from torch import Tensor
from torch.nn.functional import logsigmoid
from transformers import AutoModelForCausalLM, AutoTokenizer, get_scheduler

from dpo_lightning.cli.main import main
from tests.cli.ways_over.stand_ins import CHATML, LLAMA3, ROWS, STEPS, Recorder, by_step, model, pair, run

CONFIGS = Path(__file__).parent / "configs"
ALONE = {"num_workers": 0, "num_proc": None}  # no processes beside that of the test


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["dpo-lightning"])
    (tmp_path / "data").mkdir()
    shutil.copy(CONFIGS / "dataset_info.json", tmp_path / "data")
    return tmp_path


def converted(name: str, **changes: Any) -> dict[str, Any]:
    config = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    config |= {
        "model_name_or_path": "model",
        "bf16": False,
        "learning_rate": 5e-3,
        "gradient_accumulation_steps": 2,
        **changes,
    }
    Path("theirs.yaml").write_text(yaml.safe_dump(config))
    main(["import", "llamafactory", "theirs.yaml", "--out", "ours.yaml"])
    return config


def write_pairs() -> None:
    """Rows as data/dpo_en_demo.json has them."""
    rows = [
        {
            "conversations": [{"from": "human", "value": asked}],
            "chosen": {"from": "gpt", "value": good},
            "rejected": {"from": "gpt", "value": bad},
        }
        for asked, good, bad in map(pair, range(ROWS))
    ]
    Path("data/dpo_en_demo.json").write_text(json.dumps(rows))


def of_qwen3(number: int) -> tuple[str, str, str]:
    """Prompt and answers as the template qwen3_nothink writes them: the line break behind an answer is scored."""
    asked, good, bad = pair(number)
    return f"<|im_start|>user\n{asked}<|im_end|>\n<|im_start|>assistant\n", f"{good}<|im_end|>\n", f"{bad}<|im_end|>\n"


def of_llama3(number: int) -> tuple[str, str, str]:
    """The same as the template llama3 writes them."""
    asked, good, bad = pair(number)
    user, assistant = (f"<|start_header_id|>{role}<|end_header_id|>\n\n" for role in ("user", "assistant"))
    return f"<s>{user}{asked}<|eot_id|>{assistant}", f"{good}<|eot_id|>", f"{bad}<|eot_id|>"


def logps(made: Any, prompt: list[int], answer: list[int]) -> Tensor:
    scored = made(torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
    places = torch.arange(len(prompt) - 1, len(prompt) + len(answer) - 1)
    return scored[places, torch.tensor(answer)].sum()


def theirs(config: dict[str, Any], written: Any) -> list[float]:
    """Losses of pref_loss: sigmoid with LoRA, by the equations of its trainer, on our rows in our order."""
    rank, accumulated, beta = config["lora_rank"], config["gradient_accumulation_steps"], config["pref_beta"]
    base = AutoModelForCausalLM.from_pretrained("model", dtype=torch.float64)
    adapters = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
    made, tokens = get_peft_model(base, adapters), AutoTokenizer.from_pretrained("model")
    assert not made.load_state_dict(Recorder.start, strict=False).unexpected_keys
    trained = [each for each in made.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=config["learning_rate"], weight_decay=0.0)
    total = int(config["num_train_epochs"] * ROWS / accumulated)
    warmup = -(-int(config["warmup_ratio"] * total * 1000) // 1000)
    schedule = get_scheduler(config["lr_scheduler_type"], optimizer, warmup, total)
    losses = []
    for number, (row,) in enumerate(Recorder.rows):
        ids = [tokens(each)["input_ids"] for each in written(row)]
        ratios = []
        for answer in ids[1:]:
            with torch.no_grad(), made.disable_adapter():
                reference = logps(made, ids[0], answer)
            ratios.append(logps(made, ids[0], answer) - reference)
        loss = -logsigmoid(beta * (ratios[0] - ratios[1])) / accumulated
        loss.backward()
        losses.append(loss.item())
        if number % accumulated == accumulated - 1:
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    return by_step(losses, accumulated)


@pytest.mark.parametrize(
    ("name", "tokens", "written"),
    [("qwen3_dpo_lora", CHATML, of_qwen3), ("llama3_dpo_lora", LLAMA3, of_llama3)],
)
def test_dpo_is_theirs_for_twenty_steps(name: str, tokens: list[str], written: Any) -> None:
    write_pairs()
    model(Path("model"), tokens)
    config = converted(name)
    run(Path("ours.yaml"), **ALONE)
    losses = by_step(Recorder.losses, config["gradient_accumulation_steps"])
    assert len(losses) == STEPS
    assert max(losses) - min(losses) > 0.002, "it learns"
    assert losses == pytest.approx(theirs(config, written), abs=1e-6)


def test_kto_runs_and_begins_where_theirs_does() -> None:
    rows = [
        {
            "messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": good}],
            "label": number % 2 == 0,
        }
        for number, (asked, good, _) in enumerate(map(pair, range(ROWS)))
    ]
    Path("data/kto_en_demo.json").write_text(json.dumps(rows))
    model(Path("model"), CHATML)
    config = converted("qwen3_kto_lora", kto_chosen_weight=0.5)
    run(Path("ours.yaml"), steps=2, **ALONE)
    first = [row for (row,) in Recorder.rows[: config["gradient_accumulation_steps"]]]
    wanted = sum(0.5 * (0.5 if row % 2 == 0 else 1.0) for row in first) / len(first)
    assert sum(Recorder.losses[: len(first)]) == pytest.approx(wanted)
