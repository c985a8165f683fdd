"""The page of commands, and what help and completion read, are those of the parser."""

from __future__ import annotations

import warnings

import pytest

from dpo_lightning.cli.data_of_config import DataCLI
from dpo_lightning.cli.keys import MOST_USED, all_keys
from dpo_lightning.cli.trainer import run_trainer
from tools.docs.cli import files
from tools.docs.cli_keys import read_keys


@pytest.fixture(scope="module")
def written() -> dict[str, tuple[str, str]]:
    return {path.name: (path.read_text(encoding="utf-8"), text) for path, text in files()}


@pytest.mark.parametrize("name", ["cli.md", "keys.json", "bash", "zsh", "fish"])
def test_a_file_is_what_the_tool_writes(name: str, written: dict[str, tuple[str, str]]) -> None:
    there, wanted = written[name]
    assert there == wanted, "run `python -m tools.docs.cli`"


def test_the_keys_are_those_that_the_parser_takes() -> None:
    keys = {each.name: each for each in all_keys()}
    assert list(keys) == [each.name for each in read_keys()]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "LightningCLI's args parameter")
        words = ["--model.policy=p", "--data.dataset=d", "--data.max_length=7", "--trainer.max_epochs=1"]
        parsed = run_trainer(["fit", *words], DataCLI).config["fit"].as_dict()
    assert {name.partition(".")[2] for name in keys if name.startswith("trainer.")} == {*parsed["trainer"]}
    for section in ("model", "data"):
        taken = {name.partition(".")[2] for name in keys if name.startswith(f"{section}.")}
        assert {*parsed[section]["init_args"]} == taken
    assert parsed["trainer"]["log_every_n_steps"] == int(keys["trainer.log_every_n_steps"].default)
    assert parsed["data"]["init_args"]["seed"] == int(keys["data.seed"].default)


def test_the_most_used_are_keys() -> None:
    names = {each.name for each in all_keys()}
    assert {f"{section}.{name}" for section, used in MOST_USED.items() for name in used} <= names


def test_classes_are_those_of_the_kind() -> None:
    keys = {each.name: each for each in all_keys()}
    assert {"DPO", "KTO", "PlackettLuceDPO"} <= {*keys["model.objective"].classes}
    assert not {"LoRA", "Cosine", "AdamW", "Objective"} & {*keys["model.objective"].classes}
    assert {"AdamW", "SGD"} <= {*keys["model.optimizer"].classes}
    assert {"EarlyStopping", "SampleTable"} <= {*keys["trainer.callbacks"].classes}
    assert {"beta", "gamma"} <= {*keys["model.objective"].settings}
