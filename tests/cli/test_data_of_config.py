"""The data of a config, without its run."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpo_lightning import UnpairedFormat
from dpo_lightning.cli.data_of_config import NO_POLICY, data_of_config
from dpo_lightning.cli.main import main
from dpo_lightning.data.formats import AutoFormat
from tests.helpers.runs import saved_model, write_rows


def test_settings_reach_the_data_and_nothing_is_loaded(tmp_path: Path):
    words = [f"--model.policy={tmp_path / 'nowhere'}", f"--data.dataset={tmp_path / 'nothing.jsonl'}"]
    found = data_of_config([*words, "--data.max_length=77", "--data.clean.duplicates=near", "--data.val_split=0.25"])
    assert (found.data.max_length, found.data.clean.duplicates) == (77, "near")
    assert found.data.splits.names.val == 0.25
    assert found.policy == str(tmp_path / "nowhere")
    assert found.data.format == AutoFormat()
    assert found.read.objective == "DPO"


def test_the_tokenizer_is_the_policys_unless_one_is_named(tmp_path: Path):
    model = saved_model(tmp_path / "model")
    words = [f"--model.policy={model}", f"--data.dataset={write_rows(tmp_path / 'pairs.jsonl')}"]
    assert data_of_config(words).data.tokenizer.eos_token == "</s>"
    named = data_of_config([*words, f"--data.tokenizer={tmp_path / 'other'}"])
    with pytest.raises(ValueError, match="other"):
        named.data.tokenizer  # noqa: B018 - it is loaded when it is asked for


def test_there_may_be_no_policy(tmp_path: Path):
    words = [f"--model.policy={NO_POLICY}", f"--data.dataset={tmp_path / 'pairs.jsonl'}"]
    found = data_of_config([*words, "--data.format=UnpairedFormat", "--model.model_kwargs.revision=main"])
    assert found.policy is None
    assert found.data.format == UnpairedFormat()
    assert found.options.model_kwargs == {"revision": "main"}


def test_a_wrong_setting_is_a_line_with_its_key(tmp_path: Path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["inspect", str(tmp_path / "pairs.jsonl"), "--data.max_lenght=5"])
    assert stopped.value.code == 2
    assert "unknown key `data.max_lenght`; did you mean `max_length`?" in capsys.readouterr().err
    with pytest.raises(SystemExit, match=r"error: data.max_length must be at least 1"):
        main(["inspect", str(tmp_path / "pairs.jsonl"), "--data.max_length=0"])
