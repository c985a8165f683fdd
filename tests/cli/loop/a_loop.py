"""A loop in a directory: a tiny model, prompts, a function that scores, and its config."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from dpo_lightning.cli.main import main
from tests.helpers.runs import WORDS, saved_model

REWARD = "def reward(prompt, completion):\n    return sum(map(ord, completion)) % 97\n"


def config(**changes: Any) -> dict[str, Any]:
    """The sections of a config; `changes` are keys with dots, where null takes a key away."""
    found: dict[str, Any] = {
        "rounds": {"policy": "model", "prompts": "prompts.jsonl", "number": 2, "out": "out", "prompts_per_round": 6},
        "generate": {"samples": 4, "max_new_tokens": 6, "samples_at_once": 8},
        "score": {"function": "rewards.py:reward"},
        "pair": {"keep_cut": True},
        "fit": {
            "seed_everything": 3,
            "model": {"optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 1e-2}}},
            "data": {"val_split": 0.2, "batch_pairs": 1},
            "trainer": {
                "accelerator": "cpu",
                "max_epochs": 2,
                "log_every_n_steps": 1,
                "enable_progress_bar": False,
                "callbacks": [{"class_path": "ResumableCheckpoint", "init_args": {"every_n_train_steps": 2}}],
            },
        },
    }
    for key, value in changes.items():
        *above, name = key.split("__")
        inner = found
        for each in above:
            inner = inner.setdefault(each, {})
        inner[name] = value
    return found


def written(directory: Path, model: bool = False, **changes: Any) -> Path:
    """Write the config, and what it names, to a directory."""
    directory.mkdir(exist_ok=True)
    (directory / "prompts.jsonl").write_text(
        "".join(json.dumps({"prompt": f"the {WORDS[n % 8]} {WORDS[n // 8]}:", "id": n}) + "\n" for n in range(14))
    )
    (directory / "rewards.py").write_text(REWARD)
    if model:
        saved_model(directory / "model")
    file = directory / "loop.yaml"
    file.write_text(yaml.safe_dump(config(**changes), sort_keys=False))
    return file


def in_this_process(words: Sequence[str]) -> int:
    """A command as the loop calls it, without the seconds that a process takes to import everything."""
    try:
        main(list(words))
    except SystemExit as end:
        print(end.code)
        return 1
    return 0
