"""`dpo-lightning inspect`, as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from dpo_lightning.cli.main import main
from tests.data.common import write
from tests.data.inspect.common import clean_labelled, clean_rows
from tests.helpers.runs import saved_model
from tests.helpers.tiny import tiny_tokenizer


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write(tmp_path / "pairs.jsonl", clean_rows(60))
    write(tmp_path / "held_out.jsonl", clean_rows(10, seed=1))
    tiny_tokenizer().save_pretrained(tmp_path / "tokenizer")
    run = {
        "model": {"policy": "nowhere"},
        "data": {"dataset": "pairs.jsonl", "tokenizer": "tokenizer", "val_split": "held_out.jsonl", "max_length": 300},
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


def inspected(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Exit code, and what is printed."""
    capsys.readouterr()
    try:
        main(["inspect", *words])
    except SystemExit as stopped:
        return int(str(stopped.code)), capsys.readouterr().out
    return 0, capsys.readouterr().out


def test_a_config_without_weights(project, capsys):
    code, text = inspected(capsys, "--config", "run.yaml")
    assert code == 0
    assert "pairs.jsonl: read as RowFormat, from the columns `prompt`, `chosen`," in text
    assert "Findings: 0 errors, 0 warnings, 0 for information" in text
    assert max(map(len, text.splitlines())) <= 80


def test_json_is_all_that_is_printed(project, capsys):
    code, text = inspected(capsys, "--config", "run.yaml", "--json", "--data.max_length", "40")
    read = json.loads(text)
    assert code == 3
    assert read["lengths"]["max_length"] == 40
    assert {finding["name"] for finding in read["findings"]} >= {"truncated", "identical after truncation"}
    assert [*read["splits"]] == ["train", "val"]


def test_a_file_alone_counts_words(project, capsys):
    code, text = inspected(capsys, "pairs.jsonl", "--json")
    assert code == 0
    assert json.loads(text)["lengths"] | {"histogram": None} == {"unit": "words", "max_length": None, "histogram": None}


def test_a_file_with_a_tokenizer(project, capsys):
    _, text = inspected(capsys, "pairs.jsonl", "--tokenizer", "tokenizer", "--max_length", "77", "--json")
    assert json.loads(text)["lengths"] | {"histogram": None} == {"unit": "tokens", "max_length": 77, "histogram": None}


def test_a_file_of_labelled_completions(project, capsys):
    write(project / "labelled.jsonl", clean_labelled(40))
    code, text = inspected(capsys, "labelled.jsonl", "--json")
    read = json.loads(text)
    assert code == 0
    assert read["format"].startswith("UnpairedFormat")
    assert [finding["name"] for finding in read["findings"]] == ["label balance"]


@pytest.mark.parametrize(("row", "code"), [({"chosen": ""}, 3), ({"chosen": None}, 4), ({"id": 3}, 0)])
def test_the_exit_code_is_the_gravest_severity(project, capsys, row, code):
    rows = clean_rows(30)
    rows[4].update(row)
    write(project / "faulty.jsonl", rows)
    assert inspected(capsys, "faulty.jsonl")[0] == code


@pytest.mark.parametrize(
    ("change", "said", "has_lengths"),
    [
        ({"chosen": None}, "of 30, 30 are refused and 0 dropped", False),
        ({"prompt": "", "chosen": ""}, "of 30, 0 are refused and 30 dropped", True),
    ],
)
def test_rows_of_which_none_is_left_have_no_empty_tables(project, capsys, change, said, has_lengths):
    write(project / "faulty.jsonl", [{**row, **change} for row in clean_rows(30)])
    code, text = inspected(capsys, "faulty.jsonl", "--html", "report.html")
    page = (project / "report.html").read_text(encoding="utf-8")
    assert code == 4
    for shown in (text, page):
        assert f"No row can be trained on: {said}." in shown
        assert "times the tree" not in shown
        assert ("before anything is cut" in shown) == has_lengths
    assert "error nothing left" in text


def test_a_page_is_written(project, capsys):
    code, text = inspected(capsys, "pairs.jsonl", "--html", "out/report.html")
    assert code == 0
    assert "Findings" in text
    assert (project / "out/report.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_model_scores(project, capsys):
    model = saved_model(project / "model")
    _, text = inspected(capsys, "pairs.jsonl", "--model", model, "--scored_rows", "8", "--json")
    scored = json.loads(text)["model"]
    assert (scored["name"], scored["examples"]) == (model, 8)
    assert 0 <= scored["accuracy"] <= 1
    assert len(scored["largest_loss"]) == 5


def test_the_policy_is_loaded_where_that_is_asked_for(project, capsys):
    model = saved_model(project / "model")
    _, text = inspected(capsys, "--config", "run.yaml", f"--model.policy={model}", "--json")
    assert json.loads(text)["model"] is None
    _, text = inspected(capsys, "--config", "run.yaml", f"--model.policy={model}", "--scored_rows=4")
    assert "4 training examples under" in text


def test_a_sample_is_said(project, capsys):
    _, text = inspected(capsys, "pairs.jsonl", "--most_rows", "20")
    assert "20 of 60 rows" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing.jsonl"], "nothing.jsonl"),
        (["pairs.jsonl", "--most_rows", "0"], "inspect --most_rows must be at least 1, got 0"),
        (["pairs.jsonl", "--html", "."], "inspect --html"),
        (["pairs.jsonl", "--data.train_split", "other"], "data.train_split"),
        (["pairs.jsonl", "--html", "pairs.jsonl"], "inspect --html: pairs.jsonl: the report is a page: give a path"),
        (["--config", "run.yaml", "--html", "run.yaml"], "give a path that ends in .html"),
        (["pairs.jsonl", "--config", "run.yaml"], "inspect pairs.jsonl: --config names data too"),
        (["pairs.jsonl", "--data.dataset=held_out.jsonl"], "inspect pairs.jsonl: --data.dataset names data too"),
        (["pairs.jsonl", "--max_length", "5"], "inspect: data.max_length is about tokens"),
        (["pairs.jsonl", "--data.scored", "completion"], "inspect: data.scored is about tokens"),
        (["pairs.jsonl", "--scored_rows", "3"], "inspect --scored_rows: there is no model to score with"),
    ],
)
def test_what_cannot_be_is_one_line(project, words, said):
    with pytest.raises(SystemExit) as stopped:
        main(["inspect", *words])
    assert str(stopped.value.code).startswith("error: ")
    assert said in str(stopped.value.code)
    assert "\n" not in str(stopped.value.code)
    assert (project / "pairs.jsonl").read_text().startswith('{"prompt"'), "and nothing is overwritten"
    assert not (project / "report.html").exists()


def test_its_help_fits(project, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["inspect", "--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    assert "--scored_rows" in text
    assert "Exits 0" in text
