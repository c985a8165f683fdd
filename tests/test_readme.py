"""The README tells what is there, and its code runs."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

import dpo_lightning
from dpo_lightning import losses
from dpo_lightning.cli.main import main
from tests.helpers.runs import saved_model, write_rows

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def block(language: str) -> str:
    """The longest code block of a language, with a tiny local model in place of the hub's."""
    blocks = re.findall(rf"```{language}\n(.*?)```", README, re.S)
    code = max(blocks, key=len)
    return code.replace("Qwen/Qwen2.5-0.5B-Instruct", "model")


@pytest.fixture
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["dpo-lightning"])
    saved_model(tmp_path / "model")
    write_rows(tmp_path / "pairs.jsonl", 40)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.usefixtures("_project")
def test_the_python_example_runs():
    code = block("python")
    assert len([line for line in code.splitlines() if line]) <= 12
    scope: dict[str, object] = {}
    exec(compile(code.replace("max_epochs=1", "max_epochs=1, accelerator='cpu'"), "README.md", "exec"), scope)
    assert sum(len(batch["margin"]) for batch in scope["rewards"]) == 4
    assert Path("adapter/adapter_model.safetensors").is_file()


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.usefixtures("_project")
def test_the_config_runs():
    Path("run.yaml").write_text(block("yaml"))
    main(["fit", "--config", "run.yaml", "--trainer.accelerator=cpu", "--trainer.precision=32-true"])
    assert Path("checkpoints/step=1.ckpt").is_file()
    assert Path("adapter/adapter_config.json").is_file()


def test_every_file_and_target_it_names_is_there():
    files = re.findall(r"`((?:examples|configs|dpo_lightning|benchmarks|docs)/[\w./-]*)`", README)
    assert files
    for name in files:
        assert (ROOT / name).exists(), name
    targets = (ROOT / "Makefile").read_text()
    assert all(f"\n{target}:" in targets for target in re.findall(r"make (\w+)", README))
    configs = {path.stem for path in (ROOT / "configs").glob("*.yaml")}
    assert all(f"`{name}`" in README for name in configs)


def test_what_it_counts_is_as_many():
    page = (ROOT / "docs/architectures.md").read_text()
    layouts = re.findall(r"^\| .* \| (tree|padded) \|", page, re.M)
    assert f"on {layouts.count('tree')} of\nthe {len(layouts)} model configurations" in README
    objectives = re.findall(r"^\| \*\*\w+\*\*", (ROOT / "docs/objectives.md").read_text(), re.M)
    assert f"DPO and {len(objectives) - 1} others" in README


def test_public_names_are_exported():
    assert all(hasattr(dpo_lightning, name) for name in dpo_lightning.__all__)
    classes = {name for name in losses.__all__ if isinstance(getattr(losses, name), type)}
    assert classes <= set(dpo_lightning.__all__)
