"""Formats as a config writes them, in a list of sources."""

from __future__ import annotations

import pytest

from dpo_lightning import AutoFormat, RowFormat, SwiftFormat
from dpo_lightning.data.formats.written import written_format
from dpo_lightning.errors import InputError


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ({"prompt": "question"}, AutoFormat(prompt="question")),
        ({}, AutoFormat()),
        ("RowFormat", RowFormat()),
        ({"class_path": "dpo_lightning.RowFormat", "init_args": {"prompt": "question"}}, RowFormat("question")),
        ({"class_path": "SwiftFormat"}, SwiftFormat()),
    ],
)
def test_a_name_or_settings_make_a_format(given, made):
    assert written_format(given, "data.format") == made


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"promt": "question"}, "unknown key `data.sources[0].format.promt`; did you mean `prompt`?"),
        ("RowFormt", "data.sources[0].format: no format RowFormt; did you mean `RowFormat`?"),
        ({"class_path": "Format"}, "no format Format; "),
        ({"class_path": "os.system", "init_args": {"command": "touch x"}}, "no format os.system; there are AlpacaEval"),
        ({"class_path": "RowFormat", "init_args": 3}, "data.sources[0].format: give the settings by name, not 3"),
        ({"prompt": 3}, "data.sources[0].format: AutoFormat.prompt must be text, got 3"),
        ({"class_path": 3}, "data.sources[0].format: no format 3; there are"),
    ],
)
def test_what_makes_none_is_refused_by_its_key(given, said):
    with pytest.raises(InputError) as refused:
        written_format(given, "data.sources[0].format")
    assert said in str(refused.value)
