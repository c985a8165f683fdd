"""Words that terminal, page and model card share."""

from __future__ import annotations

import ast
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from dpo_lightning.report.words import called, counted, loading_code


@pytest.mark.parametrize(
    ("number", "said"),
    [(960, "960"), (12_400, "12,400"), (3_210_000, "3.21 M"), (7_100_000_000, "7.1 B"), (2e12, "2 T"), (0.4, "0")],
)
def test_a_number_is_said_as_people_say_it(number: float, said: str) -> None:
    assert counted(number) == said


def test_an_objective_is_written_with_what_was_set() -> None:
    settings = {"beta": 0.1, "eta": None, "is_free": True, "kind": "x"}
    assert called({"name": "DPO", "settings": settings}) == "DPO(beta=0.1, is_free=True, kind=x)"
    assert called({"name": "SFT"}) == "SFT()"
    assert [called(each) for each in (None, {}, [], {"name": None}, {"settings": {}})] == [""] * 5
    assert called({"name": "DPO", "settings": ["beta"]}) == "DPO()"


@pytest.mark.parametrize("adapter", [True, False])
@pytest.mark.parametrize(
    ("path", "meant"),
    [('it\'s "a"\n```', 'it\'s "a"\n```'), ("{x}", "{x}"), ("~/m", "/h/m"), ("/s/$USER/m", "/s/ann/m")],
)
def test_code_loads_from_the_very_path(path: str, meant: str, adapter: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Any] = []
    kind = SimpleNamespace(from_pretrained=read.append)
    names = {"AutoModelForCausalLM": kind, "AutoTokenizer": kind, "AutoPeftModelForCausalLM": kind}
    for name in ("transformers", "peft"):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(**names))
    monkeypatch.setenv("HOME", "/h")
    monkeypatch.setenv("USER", "ann")
    code = loading_code(path, adapter=adapter)
    exec(compile(ast.parse(code), "card", "exec"), {})
    assert read == [meant, meant]
    assert ("peft" in code) is adapter
