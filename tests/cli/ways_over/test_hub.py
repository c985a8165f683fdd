"""Pushing to the hub, where `Export` can and where it cannot."""

from __future__ import annotations

from typing import Any

import pytest

import dpo_lightning
from dpo_lightning.errors import InputError
from tests.helpers.ways_over import callback, of_trl, said


class Pushes:
    """An `Export` that pushes."""

    def __init__(self, path: str, push_to: str = "", private: bool | None = None, revision: str | None = None) -> None:
        """Keep nothing."""


class Keeps:
    """An `Export` that does not."""

    def __init__(self, path: str) -> None:
        """Keep nothing."""


@pytest.fixture
def _pushes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dpo_lightning, "Export", Pushes, raising=False)


@pytest.mark.usefixtures("_pushes")
def test_a_repository_with_its_account_is_pushed_to() -> None:
    draft = of_trl(push_to_hub=True, hub_model_id="me/dpo", hub_private_repo=True, hub_model_revision="v1")
    pushed = {"push_to": "me/dpo", "private": True, "revision": "v1"}
    assert callback(draft, "Export") == {"path": "trainer_output/model", **pushed}
    assert "once" in said(of_trl(push_to_hub=True, hub_model_id="me/dpo", hub_strategy="end"), "hub_strategy")


@pytest.mark.usefixtures("_pushes")
@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"hub_model_id": "dpo"}, "hub_model_id dpo (give hub_model_id, as user/dpo)"),
        ({"output_dir": "runs/out"}, "push_to_hub True (give hub_model_id, as user/out)"),
        ({"hub_model_id": "me/dpo", "hub_token": "hf_x"}, "set HF_TOKEN in the environment"),
    ],
)
def test_a_push_that_cannot_be_is_refused(fields: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError) as raised:
        of_trl(push_to_hub=True, **fields)
    assert line in str(raised.value)
    assert "hf_x" not in str(raised.value)


def test_without_a_push_the_rest_has_no_effect() -> None:
    draft = of_trl(hub_model_id="me/dpo", hub_private_repo=True)
    assert said(draft, "hub_model_id") == "no effect there: push_to_hub is not set: nothing is pushed"
    assert callback(draft, "Export") == {"path": "trainer_output/model"}


def test_an_export_that_does_not_push_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dpo_lightning, "Export", Keeps, raising=False)
    with pytest.raises(InputError, match=r"push_to_hub True .push the directory of Export by `hf upload`"):
        of_trl(push_to_hub=True)
