"""Every shipped config parses, and its objects are built around a tiny local model and dataset."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml

from dpo_lightning import PreferenceModule
from dpo_lightning.cli import main
from tests.helpers.runs import saved_model

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
NAMES = sorted(path.stem for path in CONFIGS.glob("*.yaml"))
CHATML = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def local_rows(name: str, path: Path) -> str:
    """Rows in the form of the config's dataset."""
    prompt = "\n\nHuman: hello\n\nAssistant:"
    rows = {
        "hh_full": {"chosen": prompt + " good day", "rejected": prompt + " go away"},
        "truthy_phi2": {"prompt": "hello", "chosen": "good day", "rejected": "go away"},
    }
    chat = [{"role": "user", "content": "hello"}]
    messages = {
        "prompt": "hello",
        "chosen": [*chat, {"role": "assistant", "content": "good day"}],
        "rejected": [*chat, {"role": "assistant", "content": "go away"}],
    }
    path.write_text(f"{json.dumps(rows.get(name, messages))}\n" * 40)
    return str(path)


def test_the_configs_of_the_readme_are_there():
    assert {"quickstart", "hh_full", "ultrafeedback_lora", "ultrafeedback_qlora", "truthy_phi2"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_line_is_documented(name):
    lines = (CONFIGS / f"{name}.yaml").read_text().splitlines()
    silent = [line for line in lines if "#" not in line and not line.rstrip().endswith(":")]
    assert lines[0].startswith("# ")
    assert silent == []


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", [name for name in NAMES if name != "quickstart"])
def test_a_config_builds_and_trains_a_step_on_a_tiny_local_model(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["dpo-lightning"])
    monkeypatch.setenv("WANDB_MODE", "disabled")
    (tmp_path / "chat.jinja").write_text(CHATML)
    built = []
    build = PreferenceModule.configure_model
    monkeypatch.setattr(PreferenceModule, "configure_model", lambda self: (build(self), built.append(self))[0])
    # 64 columns: 4-bit weights come in blocks of 64
    model = saved_model(tmp_path / "model", hidden_size=64, intermediate_size=64)
    dataset = local_rows(name, tmp_path / "rows.jsonl")
    settings = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    local = {
        "model.policy": model,
        "data.dataset": dataset,
        "data.train_split": "train",
        "data.val_split": settings["data"]["val_split"] if name == "truthy_phi2" else "train[:8]",
        "data.test_split": "null",
        "data.chat_template": "chat.jinja",
        "data.num_workers": "0",
        "trainer.accelerator": "cpu",
        "trainer.fast_dev_run": "1",
        "trainer.enable_progress_bar": "false",
    }
    main(["fit", "--config", str(CONFIGS / f"{name}.yaml"), *(f"--{key}={value}" for key, value in local.items())])
    module = built[0]
    settings = settings["model"]
    assert type(module.objective).__name__ == settings["objective"]["class_path"]
    assert module.objective.beta == settings["objective"]["init_args"]["beta"]
    assert bool(settings.get("lora")) == hasattr(module.policy, "peft_config")
    assert bool(settings.get("quantization_config")) == bool(getattr(module.policy, "is_loaded_in_4bit", False))
    assert module.policy.is_activation_checkpointing
