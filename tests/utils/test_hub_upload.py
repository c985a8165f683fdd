"""A directory as a repository of the hub, by the client against a small hub on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from transformers import AutoModelForCausalLM

from dpo_lightning.errors import InputError, RunError
from dpo_lightning.utils.hub_upload import HubTarget, is_hub_name
from tests.helpers.hub import LocalHub, reached_hub
from tests.helpers.runs import saved_model

READER = """
import sys, torch
from transformers import AutoModelForCausalLM
torch.save(AutoModelForCausalLM.from_pretrained("me/model").state_dict(), sys.argv[1])
"""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    with reached_hub(monkeypatch) as running:
        yield running


def test_what_is_pushed_is_loaded_from_there_by_its_name(hub: LocalHub, tmp_path: Path) -> None:
    directory = saved_model(tmp_path / "model")
    target = HubTarget("me/model", private=True)
    target.check()
    assert target.push(directory) == f"{hub.url}/me/model"
    written = {path.name: path.read_bytes() for path in Path(directory).iterdir()}
    assert hub.files["me/model", "main"] == written
    assert hub.private["me/model"] in (True, "private")
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")}
    subprocess.run([sys.executable, "-c", READER, str(tmp_path / "read.pt")], check=True, env=environment)
    read, own = torch.load(tmp_path / "read.pt"), AutoModelForCausalLM.from_pretrained(directory).state_dict()
    assert read.keys() == own.keys()
    assert all(torch.equal(read[name], value) for name, value in own.items())


def test_a_branch_is_made_and_main_stays(hub: LocalHub, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m/config.json").write_text("{}")
    HubTarget("lab/model").push(tmp_path / "m")
    (tmp_path / "m/config.json").write_text('{"a": 1}')
    HubTarget("lab/model", revision="beta-0.1").push(tmp_path / "m")
    assert hub.files["lab/model", "main"]["config.json"] == b"{}"
    assert hub.files["lab/model", "beta-0.1"]["config.json"] == b'{"a": 1}'


def test_a_name_alone_is_the_accounts_own(hub: LocalHub, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m/config.json").write_text("{}")
    target = HubTarget("model", private=True)
    target.check()
    assert target.push(tmp_path / "m") == f"{hub.url}/me/model"
    assert hub.files["me/model", "main"] == {"config.json": b"{}"}
    hub.private["me/model"] = False
    with pytest.raises(InputError, match="the repository is there and is public, not private"):
        target.check()


@pytest.mark.parametrize("name", ["a/b/c", "", "me/mo del", "https://hub/me/model"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="no name of a repository: give user/model"):
        HubTarget(name)


def test_who_may_not_write_is_told_before(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    HubTarget("lab/model").check()
    with pytest.raises(InputError, match="the token is that of me, lab: log in"):
        HubTarget("other/model").check()
    hub.role = "read"
    with pytest.raises(InputError, match="the token may only read"):
        HubTarget("me/model").check()
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", "/nowhere")
    with pytest.raises(InputError, match=r"push_to me/model: .*log in with `hf auth login`"):
        HubTarget("me/model").check()


def test_a_push_that_fails_says_where_the_model_is(hub: LocalHub, tmp_path: Path) -> None:
    (tmp_path / "a model").mkdir()
    (tmp_path / "a model/config.json").write_text("{}")
    hub.broken = True
    with pytest.raises(RunError, match=r"push it with `hf upload me/model '.*a model' --revision x`") as raised:
        HubTarget("me/model", revision="x").push(tmp_path / "a model")
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_what_another_model_has_left_goes_in_the_same_commit(hub: LocalHub, tmp_path: Path) -> None:
    whole, adapter = tmp_path / "whole", tmp_path / "adapter"
    own = {"config.json", "model-00001-of-00002.safetensors", "model.safetensors.index.json", "tokenizer.json"}
    kept = {"LICENSE", "picture.png", "old/config.json"}
    for name in own | kept:
        (whole / name).parent.mkdir(parents=True, exist_ok=True)
        (whole / name).write_text("1")
    HubTarget("me/model").push(whole)
    adapter.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors", "tokenizer.json"):
        (adapter / name).write_text("2")
    hub.broken = True
    with pytest.raises(RunError, match=r"--delete config\.json --delete model-00001"):
        HubTarget("me/model").push(adapter)
    hub.broken = False
    assert {*hub.files["me/model", "main"]} == own | kept
    HubTarget("me/model", revision="tuned").push(adapter)
    assert {*hub.files["me/model", "tuned"]} == kept | {path.name for path in adapter.iterdir()}
    assert {*hub.files["me/model", "main"]} == own | kept
    assert hub.commits == 2


def test_a_private_model_goes_to_no_public_repository(hub: LocalHub, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    HubTarget("me/model", private=False).push(tmp_path)
    with pytest.raises(InputError, match="the repository is there and is public, not private: change that"):
        HubTarget("me/model", private=True).check()
    with pytest.raises(RunError, match="is public, not private"):
        HubTarget("me/model", private=True).push(tmp_path)
    assert hub.commits == 1
    HubTarget("me/new", private=True).check()
    hub.broken = True
    with pytest.raises(RunError, match=r"push it with `hf upload me/new .* --private`"):
        HubTarget("me/new", private=True).push(tmp_path)


def test_names_of_the_hub() -> None:
    assert [is_hub_name(name) for name in ("a/b", "b", "a/b/c", "a b", 3)] == [True, True, False, False, False]
