"""Every shipped config parses, and its objects are built around a tiny local model and dataset."""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path

import lightning.pytorch as pl
import pytest
import yaml
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, SingleDeviceStrategy

from dpo_lightning import PreferenceModule
from dpo_lightning.cli.main import main
from tests.helpers.runs import saved_model

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
ROUNDS = "iterative"  # of another command, whose fit is a section of it
NAMES = sorted(path.stem for path in CONFIGS.glob("*.yaml") if path.stem != ROUNDS)
HARDWARE = {  # processes, and how many of them read different pairs
    "one_gpu": (SingleDeviceStrategy, 1, 1),
    "ddp": (DDPStrategy, 8, 8),
    "fsdp2": (ModelParallelStrategy, 8, 8),
    "fsdp2_tp": (ModelParallelStrategy, 16, 2),
}
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


@pytest.mark.parametrize("name", [*NAMES, ROUNDS, *(f"hardware/{name}" for name in HARDWARE)])
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


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("hardware", HARDWARE)
def test_hardware_merges_with_every_run(hardware, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["dpo-lightning"])
    monkeypatch.setenv("WANDB_MODE", "disabled")
    fits = []
    fit = functools.wraps(pl.Trainer.fit)(lambda trainer, model, **_: fits.append((trainer, model)))
    monkeypatch.setattr(pl.Trainer, "fit", fit)
    strategy, processes, data_ranks = HARDWARE[hardware]
    assert {path.stem for path in (CONFIGS / "hardware").glob("*.yaml")} == set(HARDWARE)
    for name in NAMES:
        configs = [CONFIGS / f"{name}.yaml", CONFIGS / f"hardware/{hardware}.yaml"]
        main(["fit", *(f"--config={path}" for path in configs), "--trainer.accelerator=cpu"])
        trainer, module = fits.pop()
        alone = yaml.safe_load(configs[0].read_text())
        assert type(trainer.strategy) is strategy
        assert trainer.world_size == processes
        assert getattr(trainer.strategy, "_data_parallel_size", processes) == data_ranks
        assert type(module.objective).__name__ == alone["model"]["objective"]["class_path"]
        assert trainer.max_epochs == alone["trainer"]["max_epochs"]
        kinds = {type(callback).__name__ for callback in trainer.callbacks}
        assert {callback["class_path"].rsplit(".", 1)[-1] for callback in alone["trainer"]["callbacks"]} <= kinds
