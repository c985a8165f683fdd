"""The way over from LLaMA-Factory as a whole."""

from __future__ import annotations

import pytest

from dpo_lightning.cli.ways_over.conversion import convert
from dpo_lightning.cli.ways_over.llamafactory import TOOL
from dpo_lightning.errors import InputError
from tests.cli.ways_over.made import LLAMA_FACTORY


@pytest.mark.parametrize("key", ["model_class", "sample_backend", "hf_hub_url"])
def test_other_files_of_it_are_known(key: str) -> None:
    with pytest.raises(InputError, match="give the config of LLaMA-Factory itself"):
        convert(TOOL, {**LLAMA_FACTORY, key: "x"}, "config f.yaml")


def test_a_field_is_left_out_when_asked() -> None:
    draft = convert(TOOL, {**LLAMA_FACTORY, "fp8": True}, "config f.yaml", ["fp8"])
    assert draft.tree["model"]["policy"].value == "model"
