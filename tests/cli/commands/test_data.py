"""`dpo-lightning data export`, as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from datasets import Dataset

from dpo_lightning.cli.main import main
from tests.data.cleaning.test_clean import HELD_OUT, ROWS
from tests.data.common import write
from tests.helpers.tiny import tiny_tokenizer


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    rows = [{**row, "meta": {"n": number, "tags": ["é"]}} for number, row in enumerate(ROWS)]
    write(tmp_path / "pairs.jsonl", [*rows, {**rows[2], "chosen": "", "meta": {"other": 1}}])
    write(tmp_path / "held_out.jsonl", HELD_OUT)
    tiny_tokenizer().save_pretrained(tmp_path / "tokenizer")
    monkeypatch.chdir(tmp_path)
    return [
        "data",
        "export",
        "--model.policy=none",
        "--data.dataset=pairs.jsonl",
        "--data.tokenizer=tokenizer",
        "--data.val_split=held_out.jsonl",
    ]


def written(path: str = "cleaned.jsonl") -> list[dict]:
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def test_rows_that_are_left_are_written_as_they_were(words, capsys):
    main(
        [
            *words,
            "--data.clean={contradictory: true, duplicates: near, contaminated: true}",
            "--output",
            "cleaned.jsonl",
        ]
    )
    expected = [{**ROWS[n], "meta": {"n": n, "tags": ["é"]}} for n in (2, 4, 5, 8)]
    assert written() == expected
    assert "é" in Path("cleaned.jsonl").read_text(encoding="utf-8")
    assert "4 of 10 rows in cleaned.jsonl" in capsys.readouterr().out


def test_without_cleaning_what_is_trained_on_is_written(words):
    main([*words, "--output", "cleaned.jsonl"])
    assert [row["meta"]["n"] for row in written()] == [*range(9)]


def test_rows_are_cleaned_as_the_objective_reads_them(words, capsys):
    """Pairs that share a completion on other sides do not contradict one another; its two labels do."""
    write(Path("pairs.jsonl"), [ROWS[8], {"prompt": "plain?", "chosen": "no", "rejected": "never"}, ROWS[2], ROWS[5]])
    given = [*words, "--data.val_split=null", "--data.clean={contradictory: true}", "--output"]
    main([*given, "of_pairs.jsonl"])
    assert len(written("of_pairs.jsonl")) == 4
    assert "4 of 4 rows in of_pairs.jsonl, as DPO reads them" in capsys.readouterr().out
    main([*given, "of_labels.jsonl", "--model.objective=KTO"])
    assert written("of_labels.jsonl") == [ROWS[2], ROWS[5]]
    assert "2 of 4 rows in of_labels.jsonl, as KTO reads them" in capsys.readouterr().out


def test_rows_that_the_objective_does_not_read_are_refused(words):
    write(Path("pairs.jsonl"), [{"prompt": "p", "completion": "c", "label": label} for label in (True, False)])
    with pytest.raises(SystemExit, match=r"error: .*DPO"):
        main([*words, "--output", "cleaned.jsonl"])
    assert not Path("cleaned.jsonl").exists()


@pytest.mark.parametrize(
    ("given", "key"),
    [
        (["--data.streaming=true", "--data.val_split=null"], "data.streaming"),
        (["--data.dataset=null", "--data.sources=[{dataset: pairs.jsonl}, {dataset: held_out.jsonl}]"], "data.sources"),
    ],
)
def test_several_sources_and_streams_are_refused(words, given, key, tmp_path: Path):
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(SystemExit, match=rf"error: data export: {key}: name one source.*\Z"):
        main([*words, *given, "--output", "cleaned.jsonl"])
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_file_that_is_there_stays(words):
    Path("cleaned.jsonl").write_text("mine")
    with pytest.raises(SystemExit, match=r"error: data export --output: cleaned\.jsonl is there already"):
        main([*words, "--output", "cleaned.jsonl"])
    assert Path("cleaned.jsonl").read_text() == "mine"


@pytest.mark.parametrize(("output", "said"), [("cleaned.csv", "ends in .jsonl"), ("pairs.jsonl/x.jsonl", "is a file")])
def test_other_places_are_refused(words, output, said):
    with pytest.raises(SystemExit, match=said):
        main([*words, "--output", output])


def test_a_value_without_a_form_in_json_is_refused_and_nothing_is_left(words, tmp_path: Path):
    rows = Dataset.from_list([{**row, "raw": b"\x00"} for row in ROWS])
    rows.to_parquet(str(tmp_path / "raw.parquet"))
    with pytest.raises(SystemExit, match=r"row 0, column `raw`: a bytes has no form in JSON"):
        main([*words, "--data.dataset=raw.parquet", "--output", "cleaned.jsonl"])
    assert not [path for path in tmp_path.iterdir() if "cleaned" in path.name]
