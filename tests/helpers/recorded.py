"""Records of runs as a fit of ten minutes would leave them, made of formulas and a seed."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import yaml

from dpo_lightning.report.record import RunRecord, write_document, write_rows

STEPS, EVERY = 240, 10
EVIL = (
    "</pre></script><script>alert(1)</script><img src=x onerror=alert(1)>"
    "\x1b[31m\u202eevil\u200b\x00 javascript:alert(1)"
)


def write_run(directory: Path, *, beta: float = 0.1, seed: int = 0, evil: str = "", **facts: Any) -> Path:
    """Write all files of a record, and the config beside it.

    Args:
        directory: That of the run.
        beta: Strength of the pull; the greater, the less is moved.
        seed: Seed of the noise.
        evil: A text that is put into every text.
        facts: What of `run.json` is other than usual.
    """
    record, chance = RunRecord(directory), random.Random(seed)
    write_document(record.facts, {**_facts(directory, beta, evil), **facts})
    write_rows(record.points, _points(beta, chance))
    pairs = [_pair(number, beta, chance, evil) for number in range(300)]
    write_rows(record.pairs, pairs)
    wrong = sorted(pairs, key=lambda row: row["rewards/chosen"] - row["rewards/rejected"])[:20]
    write_rows(record.worst, [{**row, **_texts(row["pair_id"], evil)} for row in wrong])
    write_rows(record.samples, _samples(beta, chance, evil))
    write_rows(record.hints, [_hint(evil)])
    write_document(record.data, data_document(evil))
    (directory / "config.yaml").write_text(yaml.safe_dump(config(beta)), encoding="utf-8")
    return directory


def config(beta: float) -> dict[str, Any]:
    """A config as the command saves it, in part."""
    objective = {"class_path": "dpo_lightning.DPO", "init_args": {"beta": beta, "label_smoothing": 0.0}}
    optimizer = {"class_path": "torch.optim.AdamW", "init_args": {"lr": 5e-6, "weight_decay": 0.0, "eps": 1e-8}}
    model = {"policy": "models/tiny", "objective": objective, "optimizer": optimizer, "reference": None}
    data = {"dataset": "pairs.jsonl", "val_split": 0.1, "max_length": 1024, "load_options": {"token": "hf_" + "a" * 30}}
    return {
        "seed_everything": 0,
        "trainer": {"max_epochs": 1, "log_every_n_steps": EVERY, "precision": "bf16-mixed", "logger": None},
        "model": {"class_path": "dpo_lightning.PreferenceModule", "init_args": model},
        "data": {"class_path": "dpo_lightning.PreferenceDataModule", "init_args": data},
    }


def data_document(evil: str = "") -> dict[str, Any]:
    """What the doctor says, in part."""
    split = {
        "rows": 4000,
        "looked_at": 2000,
        "refused": 0,
        "examples": 2000,
        "kept": 1980,
        "dropped": {"are empty": 20},
    }
    finding = {"name": "length bias", "severity": "warning", "said": f"the longer one wins in 64 %{evil}"}
    return {
        "source": f"pairs.jsonl{evil}",
        "format": "RowFormat, from the columns `prompt`, `chosen`, `rejected`",
        "severity": "warning",
        "splits": {"train": {**split, "place": "pairs.jsonl, split train"}},
        "findings": [{**finding, "remedy": "Balance the rows.", "rows": {"train": [1, 2]}}],
        "lengths": {"unit": "tokens", "max_length": 256, "histogram": [[0, 127, 900], [128, 255, 80], [256, 511, 3]]},
    }


def _facts(directory: Path, beta: float, evil: str) -> dict[str, Any]:
    return {
        "format": 1,
        "command": ["dpo-lightning", "fit", "--config", "run.yaml", f"--model.objective.beta={beta}"],
        "began": "2026-01-05T10:00:00+00:00",
        "ended": "2026-01-05T10:10:00+00:00",
        "seconds": 600.0,
        "status": "finished",
        "step": STEPS,
        "epoch": 1.0,
        "steps_planned": STEPS,
        "seed": 0,
        "resumed": [{"from": "checkpoints/step=120.ckpt", "step": 120, "at": "2026-01-05T10:05:00+00:00"}],
        "versions": {"dpo_lightning": "0.1.0", "torch": "2.11.0", "transformers": "5.0.0", "python": "3.12.3"},
        "machine": {"device": "H200", "ranks": 2, "precision": "bf16-mixed"},
        "model": {
            "name": f"models/tiny{evil}",
            "class": "LlamaForCausalLM",
            "parameters": 494_000_000,
            "trainable": 2_160_000,
            "fingerprint": "3f9a0c",
            "lora": "rank 16 on q_proj, v_proj",
        },
        "reference": "the base weights, adapter off",
        "objective": {"name": "DPO", "settings": {"beta": beta}},
        "layout": "tree",
        "layout_why": "the model passed the self-test",
        "optimizer": {"name": "AdamW", "lr": 5e-6},
        "data": {"source": "pairs.jsonl", "fingerprint": "77ab", "train": 3600, "held_out": 300, "tokens": 1_200_000},
        "memory_peak": 17 * 2**30,
        "places": {
            "config": str(directory / "config.yaml"),
            "checkpoint": str(directory / "last.ckpt"),
            "export": "model",
        },
        "verdict": [f"held-out reward accuracy 0.81, chosen log-ratio -4.2 nats{evil}"],
    }


def _points(beta: float, chance: random.Random) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for step in range(0, STEPS + 1, EVERY):
        moved = 1 - math.exp(-step / 80)
        row: dict[str, Any] = {"step": step, "seconds": 2.5 * step}
        for stage in ("train", "val") if step % 60 == 0 else ("train",):
            noise = chance.gauss(0, 0.02) if step else 0.0
            margin = 1.6 * moved + noise
            row |= {
                f"{stage}/loss": math.log(2) - 0.35 * moved + noise,
                f"{stage}/rewards/accuracies": None if step == 0 else 0.5 + 0.31 * moved + noise,
                f"{stage}/rewards/chosen": -0.4 * moved,
                f"{stage}/rewards/rejected": -0.4 * moved - margin,
                f"{stage}/rewards/margins": margin,
                f"{stage}/logratios/chosen": -0.4 * moved / beta,
                f"{stage}/logratios/rejected": (-0.4 * moved - margin) / beta,
                f"{stage}/logps/chosen": -80 - 0.4 * moved / beta,
                f"{stage}/logps/rejected": -90 - margin / beta,
                f"{stage}/kl": 0.2 * moved / beta,
            }
        row |= {"train/lr": 5e-6 * min(step / 24, (STEPS - step) / (STEPS - 24)), "train/grad_norm": 3 + noise}
        row |= {"train/pairs_per_second": 40 + noise, "train/tokens_per_second": 12000 + 100 * noise}
        rows.append({**row, "train/memory_gib": 16.5, "train/mfu": 0.41, "train/epoch_fraction": step / STEPS})
    return rows


def _pair(number: int, beta: float, chance: random.Random, evil: str) -> dict[str, Any]:
    tokens = {side: chance.randint(20, 200) for side in ("chosen", "rejected")}
    before = {side: -0.6 * count + chance.gauss(0, 8) for side, count in tokens.items()}
    lean = {"chosen": chance.gauss(-4, 6), "rejected": chance.gauss(-14, 9)}
    source = ("stories", "chats", "code")[number % 3] + evil
    return {
        "pair_id": number,
        "set": None,
        "source": source,
        "loss": 0.5,
        **{f"{side}_tokens": count for side, count in tokens.items()},
        **{f"rewards/{side}": beta * value for side, value in lean.items()},
        **{f"logratios/{side}": value for side, value in lean.items()},
        **{f"logps/{side}": before[side] + value for side, value in lean.items()},
    }


def _texts(number: int, evil: str) -> dict[str, str]:
    return {
        "prompt": f"Tell me a story about boat {number}.{evil}",
        "chosen": f"The boat left at dawn. {'It sailed on and on. ' * (number % 60)}{evil}",
        "rejected": f"No. مرحبا 🚤{evil}",
    }


def _samples(beta: float, chance: random.Random, evil: str) -> list[dict[str, Any]]:
    return [
        {
            "step": step,
            "prompt": f"Write about the sea, version {number}.{evil}",
            "policy": [f"The sea at step {step} was blue.{evil}", "Waves came and went."],
            "reference": [f"There was a sea.{evil}", "The sea."],
            "rewards": {"policy": [step / STEPS / (0.5 + beta) + chance.random(), 1.0], "reference": [0.1, 0.3]},
        }
        for step in (0, 60, 120, 240)
        for number in range(5)
    ]


def _hint(evil: str) -> dict[str, Any]:
    text = f"the log-prob of chosen completions falls while the margin rises{evil}"
    return {"step": 90, "name": "chosen-falls", "text": text, "severity": "warning"}
