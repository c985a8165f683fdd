"""The keys of the data, as flags and in YAML: both build the same objects."""

from __future__ import annotations

import contextlib
import io

import pytest
import yaml

from dpo_lightning import AutoFormat, ByLength, ByMargin, Clean, RowFormat, Source, UnpairedFormat
from tests.cli.test_every_wrong_value import answer, parser_of

DATASET = ["--data.dataset=rows.jsonl"]
QUESTION = '[{"dataset": "a.jsonl", "weight": 2}, {"dataset": "b.jsonl", "rows": 3, "format": {"prompt": "question"}}]'
MADE = (Source("a.jsonl", weight=2, name="a"), Source("b.jsonl", rows=3, format=AutoFormat("question"), name="b"))


def built(words):
    parser = parser_of("data")
    return parser.instantiate_classes(parser.parse_args(words)).data


@pytest.mark.parametrize(
    ("words", "written", "name", "value"),
    [
        (["--data.format.prompt", "question"], {"format": {"prompt": "question"}}, "format", AutoFormat("question")),
        (["--data.format", "RowFormat"], {"format": "RowFormat"}, "format", RowFormat()),
        (
            ["--data.format", "UnpairedFormat", "--data.format.threshold", "0.5"],
            {"format": {"class_path": "UnpairedFormat", "init_args": {"threshold": 0.5}}},
            "format",
            UnpairedFormat(threshold=0.5),
        ),
        (
            ["--data.format.ignore", "[system, tools]"],
            {"format": {"ignore": ["system", "tools"]}},
            "format",
            AutoFormat(ignore=["system", "tools"]),
        ),
        (
            ["--data.chat_template_kwargs.enable_thinking", "false"],
            {"chat_template_kwargs": {"enable_thinking": False}},
            "chat_template_kwargs",
            {"enable_thinking": False},
        ),
        (
            ["--data.clean.duplicates", "near", "--data.clean.identical", "true"],
            {"clean": {"duplicates": "near", "identical": True}},
            "clean",
            Clean(duplicates="near", identical=True),
        ),
        (["--data.order", "ByLength"], {"order": "ByLength"}, "order", ByLength()),
        (
            ["--data.order", "ByMargin", "--data.order.descending", "true"],
            {"order": {"class_path": "ByMargin", "init_args": {"descending": True}}},
            "order",
            ByMargin(descending=True),
        ),
        (["--data.scored", "last_assistant"], {"scored": "last_assistant"}, "scored", "last_assistant"),
    ],
)
def test_a_flag_and_a_file_build_the_same(words, written, name, value):
    assert getattr(built([*DATASET, *words]), name) == value
    assert getattr(built([f"--data={yaml.safe_dump({'dataset': 'rows.jsonl', **written})}"]), name) == value


@pytest.mark.parametrize(
    "words",
    [
        ["--data.sources", QUESTION],
        ["--data.sources", QUESTION.replace('"', "")],  # YAML on one line
        [f"--data={yaml.safe_dump({'sources': yaml.safe_load(QUESTION)})}"],
        ["--data.sources+", '{"dataset": "a.jsonl", "weight": 2}', "--data.sources+", QUESTION.split("}, ")[1][:-1]],
    ],
    ids=["JSON", "YAML", "a file", "one by one"],
)
def test_sources_are_given_in_any_form(words):
    assert built(words).sources == MADE


@pytest.mark.parametrize(
    ("sources", "line"),
    [
        ([{"datset": "a"}], "unknown key `data.sources[0].datset`; did you mean `dataset`?"),
        ([{"dataset": "a", "weight": "x"}], "data.sources[0].weight must be a number or null, got 'x'"),
        ([{"dataset": "a", "format": "RowFormt"}], "data.sources[0].format: no format RowFormt; did you mean"),
        ([{"dataset": "a", "format": {"promt": "q"}}], "unknown key `data.sources[0].format.promt`; did you mean"),
        (
            [{"dataset": "a", "format": {"class_path": "RowFormat", "init_args": {"promt": "q"}}}],
            "unknown key `data.sources[0].format.promt`; did you mean `prompt`?",
        ),
        (["a.jsonl"], "data.sources: expected null or a list, each Source or a mapping, got a.jsonl; the keys of a So"),
        ("a.jsonl", 'data.sources: expected null or a list, each Source or a mapping, got {"prompt": "p", '),
        ({"dataset": "a"}, "data.sources: expected null or a list, each Source or a mapping, got {'dataset': 'a'}"),
        ([], "data.sources: give a list of sources, got []"),
    ],
)
def test_a_wrong_source_is_one_line_with_its_key(sources, line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jsonl").write_text('{"prompt": "p", "chosen": "c", "rejected": "r"}\n' * 2)
    said = answer({"data": {"sources": sources}})
    assert said is not None
    assert said.startswith(f"error: {line}")
    assert "\n" not in said


def test_help_tells_of_each_key():
    said = io.StringIO()
    with contextlib.redirect_stdout(said), pytest.raises(SystemExit):
        parser_of("data").parse_args(["--data.help"])
    for name in ("sources", "streaming", "shuffle_buffer", "val_split_by", "chat_template_kwargs", "scored", "clean"):
        assert f"--data.{name}" in said.getvalue()
    assert "Null with `sources`" in " ".join(said.getvalue().split())
