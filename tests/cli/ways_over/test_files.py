"""Configs are read as they stand, and written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from dpo_lightning.cli.ways_over.files import read_config, write_config
from dpo_lightning.cli.ways_over.tree import BESIDE, From
from dpo_lightning.errors import InputError

TREE = {"model": {"policy": From("m", "model")}, "data": {"dataset": From("d.jsonl", "data")}}


def test_yaml_and_json_are_read(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("learning_rate: 5e-7\neval_strategy: 'no'\n")
    (tmp_path / "c.json").write_text('{"learning_rate": 5e-7}')
    assert read_config(tmp_path / "c.yaml") == {"learning_rate": "5e-7", "eval_strategy": "no"}
    assert read_config(tmp_path / "c.json") == {"learning_rate": 5e-7}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\na: 2\n", "line 2: the key `a` stands in line 1"),
        ("- a\n", "no mapping"),
        ("", "empty"),
        ("a: [", "no YAML"),
    ],
)
def test_what_is_no_config_is_refused(tmp_path: Path, text: str, line: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(InputError, match=line):
        read_config(tmp_path / "c.yaml")


def test_a_file_must_be_there(tmp_path: Path) -> None:
    for path, said in ((tmp_path, "a directory"), (tmp_path / "gone.yaml", "there is no such file")):
        with pytest.raises(InputError, match=said):
            read_config(path)


def test_a_config_that_fit_takes_is_written(tmp_path: Path) -> None:
    write_config(tmp_path / "run.yaml", TREE, ["From c.yaml."])
    assert yaml.safe_load((tmp_path / "run.yaml").read_text()) == {
        "model": {"policy": "m"},
        "data": {"dataset": "d.jsonl"},
    }


def test_one_that_an_object_refuses_is_not(tmp_path: Path) -> None:
    bad = {**TREE, "data": {"dataset": From("d.jsonl"), "batch_pairs": From(-3)}}
    with pytest.raises(ValueError, match="batch_pairs must be at least 1, got -3"):
        write_config(tmp_path / "run.yaml", bad, [])
    assert list(tmp_path.iterdir()) == []


def test_files_beside_a_config_have_its_name(tmp_path: Path) -> None:
    tree = {
        "model": {"policy": From("model")},
        "data": {"dataset": From("rows.jsonl"), "chat_template": From(f"{BESIDE}chatml.jinja")},
    }
    out = tmp_path / "run.yaml"
    assert write_config(out, tree, (), {"chatml.jinja": "{{ messages }}"}) == [tmp_path / "run.chatml.jinja"]
    assert (tmp_path / "run.chatml.jinja").read_text() == "{{ messages }}"
    assert f"chat_template: {tmp_path}/run.chatml.jinja" in out.read_text()
    with pytest.raises(InputError, match=r"run.chatml.jinja is there already"):
        write_config(tmp_path / "run.yml", tree, (), {"chatml.jinja": "{{ messages }}"})
    assert not (tmp_path / "run.yml").exists()
