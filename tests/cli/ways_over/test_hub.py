"""Pushing to the hub, as `Export` does."""

from __future__ import annotations

from typing import Any

import pytest

from dpo_lightning.errors import InputError
from tests.cli.ways_over.made import axolotl, config, told
from tests.helpers.ways_over import callback, of_trl, said


def test_a_repository_with_its_account_is_pushed_to() -> None:
    draft = of_trl(push_to_hub=True, hub_model_id="me/dpo", hub_private_repo=True, hub_model_revision="v1")
    pushed = {"push_to": "me/dpo", "private": True, "revision": "v1"}
    assert callback(draft, "Export") == {"path": "trainer_output/model", **pushed}
    assert "hub_strategy" not in told(of_trl(push_to_hub=True, hub_model_id="me/dpo", hub_strategy="end"))


@pytest.mark.parametrize(("fields", "name"), [({}, "push_to_hub"), ({"hub_strategy": "checkpoint"}, "hub_strategy")])
def test_one_push_in_the_place_of_many_is_told(fields: dict[str, Any], name: str) -> None:
    draft = of_trl(push_to_hub=True, hub_model_id="me/dpo", **fields)
    assert said(draft, name) == "differs: pushed once, when the fit ends, and there at every save"


@pytest.mark.parametrize(
    ("fields", "name"),
    [({"hub_model_id": "dpo"}, "dpo"), ({"output_dir": "runs/out"}, "out")],
)
def test_a_name_without_an_account_is_that_of_the_token_there_and_here(fields: dict[str, Any], name: str) -> None:
    assert callback(of_trl(push_to_hub=True, **fields), "Export")["push_to"] == name


def test_a_token_in_a_config_is_refused_and_not_shown() -> None:
    with pytest.raises(InputError, match="set HF_TOKEN in the environment") as raised:
        of_trl(push_to_hub=True, hub_model_id="me/dpo", hub_token="hf_x")
    assert "hf_x" not in str(raised.value)


def test_without_a_push_the_rest_has_no_effect() -> None:
    draft = of_trl(hub_model_id="me/dpo", hub_private_repo=True)
    assert said(draft, "hub_model_id") == "no effect there: push_to_hub is not set: nothing is pushed"
    assert callback(draft, "Export") == {"path": "trainer_output/model"}


def test_of_axolotl_the_name_of_a_repository_asks_for_a_private_one() -> None:
    draft = axolotl(hub_model_id="me/dpo", hub_revision="v1", output_dir="out")
    made = next(each for each in config(draft)["trainer"]["callbacks"] if each["class_path"] == "Export")
    assert made["init_args"] == {"path": "out/model", "push_to": "me/dpo", "private": True, "revision": "v1"}
    assert "every save" in told(draft)["hub_model_id"]
    assert told(axolotl(hub_strategy="end"))["hub_strategy"].startswith("hub_model_id is not set")
