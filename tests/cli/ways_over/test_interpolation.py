"""Values that another program would fill in."""

from __future__ import annotations

import pytest

from dpo_lightning.cli.ways_over.interpolation import refuse_interpolated
from dpo_lightning.errors import InputError
from tests.cli.ways_over.made import axolotl, llama_factory


def test_a_nested_text_is_refused_with_its_place() -> None:
    with pytest.raises(InputError, match=r"a.yaml: datasets\[0\].path: \$\{DATA\}/rows.jsonl is to be"):
        axolotl(datasets=[{"path": "${DATA}/rows.jsonl"}])


def test_both_tools_refuse_them() -> None:
    with pytest.raises(InputError, match="model_name_or_path"):
        llama_factory(model_name_or_path="${oc.env:MODEL}")


def test_programs_may_have_them() -> None:
    refuse_interpolated({"jinja": "{{ '${' }}", "beta": 0.1, "path": "$5 {a}"}, "config", ["jinja"])
