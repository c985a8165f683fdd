"""Config files as they are written."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpo_lightning.cli.config_files import check_config, check_new_config
from dpo_lightning.cli.main import main
from dpo_lightning.errors import InputError

WRONG = {
    "model: {}\ndata: {}\nmodel: {}\n": "line 3: the key `model` stands in line 1 as well: the first would be lost",
    "data: {batch_pairs: 8, batch_pairs: 4}\n": "line 1: data: the key `batch_pairs` stands in line 1 as well",
    "data:\n  val_split: {yes: test}\n": "line 2: data.val_split: the key `yes` is read as true: put it in quotes",
    "null: 3\n": "line 1: the key `null` is read as null",
    "model:\n  ? [a]\n  : 3\n": "line 2: model: a key is a text, got a sequence",
    "data:\n  batch_pairs: 010\n": "line 2: data: batch_pairs: 010 is read as 8: put it in quotes, or write the number",
    "trainer:\n  max_time: 12:30:00\n": "line 2: trainer: max_time: 12:30:00 is read as 45000",
    "model:\n  objective: {class_path: null}\n": "line 2: model.objective: class_path must be the name of a class",
    "a:\n- init_args: {b: {class_path: [DPO]}}\n": "line 2: a[0].b: class_path must be the name of a class, got a seq",
    "model: {class_path: X, init_args: 3}\n": "line 1: model: init_args must be a mapping of arguments, got `3`",
    "data:\n  class_path: X\n  seed: 3\n": "line 2: data: `seed` beside `class_path`: arguments of a class go below",
    "data: &a {x: *a}\n": "data.x: an anchor that contains itself",
    "data:\n  seed: 1\n\tlayout: tree\n": "line 3: no YAML: found a tab character",
    "a: [1\n": "line 2: no YAML: did not find expected",
    "a: \0": "no YAML: unacceptable character",
    "a: 1\n---\na: 2\n": "line 2: no YAML: but found another document",
    "# nothing\n": "it is empty: write model, data and trainer",
    "- 1\n": "it is no mapping: write model, data and trainer",
}
RIGHT = [
    "\ufeffmodel: {policy: x}\n",
    "a: &a {b: 1}\nc: {<<: *a, d: *a, e: [*a, *a]}\n",
    "scheduling: {0: 1, 4: 2}\nzero: 0\nhalf: 0.5\nrate: 1.0e-5\nnegative: -3\ntime: '12:30:00'\n",
    "objective: {class_path: DPO, init_args: null}\n",
]


@pytest.mark.parametrize("text", WRONG)
def test_what_yaml_reads_otherwise_is_refused_with_its_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(text)
    with pytest.raises(InputError) as refused:
        check_config(file)
    assert str(refused.value).startswith(f"config {file}: {WRONG[text]}")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", RIGHT)
def test_what_stands_there_passes(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.yaml").write_text(text, encoding="utf-8")
    check_config(tmp_path / "run.yaml")


@pytest.mark.parametrize("command", ["fit", "validate", "plan"])
@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_another_encoding_is_one_line(tmp_path: Path, command: str, encoding: str) -> None:
    (tmp_path / "run.yaml").write_text("model: {policy: é}\n", encoding=encoding)
    with pytest.raises(SystemExit, match=r"error: config .*run\.yaml: not UTF-8 \(.*\): save it as UTF-8"):
        main([command, "--config", str(tmp_path / "run.yaml")])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("there.yaml", "is there already: give another path, or remove it"),
        ("new.json", "a config is YAML: give a path that ends in .yaml"),
        ("there.yaml/new.yaml", "cannot be written"),
    ],
)
def test_a_new_config_takes_no_other_place(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "there.yaml").write_text("{}")
    with pytest.raises(InputError, match=f"init --out: .*{said}"):
        check_new_config(tmp_path / name, "init --out")
    check_new_config(tmp_path / "made" / "new.yml", "init --out")
    assert [path.name for path in tmp_path.iterdir()] == ["there.yaml"]
