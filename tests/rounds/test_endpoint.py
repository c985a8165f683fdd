"""Servers that speak the OpenAI API, against a small local one."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from dpo_lightning.errors import InputError
from dpo_lightning.rounds.endpoint import Endpoint, Reply
from tests.helpers.endpoint import stand_in

CHAT = [{"role": "user", "content": "hi"}]


def test_chat_and_completions_say_what_the_server_was_asked() -> None:
    with stand_in() as server:
        model = Endpoint(server.url + "/", "tiny")
        assert model.chat(CHAT, n=2, temperature=0.5, max_tokens=7, seed=3) == [
            Reply("hi 3", True),
            Reply("hi 4", True),
        ]
        assert model.complete("so", max_tokens=2, top_p=0.9, extra_body={"top_k": 4}) == [Reply("so 0", True)]
    first, second = server.requests
    assert first == {
        "model": "tiny", "messages": CHAT, "n": 2, "temperature": 0.5, "max_tokens": 7, "seed": 3
    }  # fmt: skip
    assert second == {
        "model": "tiny", "prompt": "so", "temperature": 1.0, "max_tokens": 2, "top_p": 0.9, "top_k": 4
    }  # fmt: skip


@pytest.mark.parametrize(("reason", "ended"), [("stop", True), ("length", False), ("content_filter", False)])
def test_whether_a_text_ended_by_itself(reason: str, ended: bool) -> None:
    with stand_in(lambda request, number: ("a", reason)) as server:
        assert Endpoint(server.url, "tiny").chat(CHAT) == [Reply("a", ended)]
        assert Endpoint(server.url, "tiny").complete("a") == [Reply("a", ended)]


@pytest.mark.parametrize(
    "settings", [{"ignores_n": True}, {"refuses": {"n": "n must be 1"}}], ids=["ignored", "refused"]
)
def test_a_server_that_gives_one_choice_is_asked_again_with_the_next_seeds(settings: dict[str, Any]) -> None:
    with stand_in(**settings) as server:
        replies = Endpoint(server.url, "tiny").chat(CHAT, n=3, seed=5)
    assert [each.text for each in replies] == ["hi 5", "hi 6", "hi 7"]
    assert [each["seed"] for each in server.requests[-3:]] == [5, 6, 7]


def test_a_model_with_another_name_for_the_most_tokens() -> None:
    said = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
    with stand_in(refuses={"max_tokens": said}) as server:
        model = Endpoint(server.url, "tiny")
        for _ in range(2):
            assert model.chat(CHAT, n=2, max_tokens=9) == [Reply("hi 0", True), Reply("hi 1", True)]
    assert [each.get("max_completion_tokens") for each in server.requests] == [None, 9, 9]


def test_a_busy_or_broken_server_is_asked_again() -> None:
    with stand_in(failures=["hang up", 500, 429, 503]) as server:
        assert Endpoint(server.url, "tiny").chat(CHAT) == [Reply("hi 0", True)]
        assert len(server.requests) == 5
        server.failures = [500] * 3
        with pytest.raises(InputError, match=r"^endpoint http://127\S+: it refuses a request: .*failed with 500"):
            Endpoint(server.url, "tiny", retries=2).chat(CHAT)
        assert len(server.requests) == 8


def test_several_requests_at_once_with_answers_in_order() -> None:
    with stand_in(delay=0.05) as server:
        model = Endpoint(server.url, "tiny", at_once=4)
        found = model.in_order(lambda text: model.complete(text)[0].text, map(str, range(12)))
        assert list(found) == [f"{number} 0" for number in range(12)]
        assert server.most_at_once == 4
        server.models = ()
        with pytest.raises(InputError, match="not found"):
            list(model.in_order(model.complete, map(str, range(100))))
    assert len(server.requests) < 40  # the others are not sent


def test_the_key_is_the_environments_and_in_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "a-key-of-mine")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with stand_in(key="a-key-of-mine") as server:
        assert Endpoint(server.url, "tiny", "MY_KEY").chat(CHAT) == [Reply("hi 0", True)]
        with pytest.raises(InputError, match=r"it refuses the key \(401\): .* variable OPENAI_API_KEY$"):
            Endpoint(server.url, "tiny").chat(CHAT)
        with pytest.raises(InputError, match="variable NO_KEY, which is to hold its key, is not set"):
            Endpoint(server.url, "tiny", "NO_KEY")
        monkeypatch.setenv("OTHER_KEY", "another-key")
        with pytest.raises(InputError) as raised:
            Endpoint(server.url.replace("//", "//me:hidden@"), "tiny", "OTHER_KEY").chat(CHAT)
    assert "another-key" not in str(raised.value)
    assert "hidden" not in str(raised.value)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"models": ("tine", "other")}, "there is no model tiny: did you mean tine?"),
        ({"models": ("big", "huge")}, "there is no model tiny: it has big, huge"),
        ({"refuses": {"temperature": "temperature must be 1"}}, "it refuses a request: .*temperature must be 1"),
        ({"raw": {"choices": []}}, "something else than a completion: an answer without choices"),
        ({"raw": "<html>hello</html>"}, "something else than a completion: <html>hello</html>: is this the address"),
        ({"answer": lambda request, number: None}, r"an answer has no text, .* \(content null, finish_reason 'stop'\)"),
        ({"answer": lambda request, number: ("a", "magic")}, "ended by finish_reason 'magic', which is none of"),
    ],
)
def test_what_a_server_lacks_is_said_in_a_line(settings: dict[str, Any], line: str) -> None:
    with stand_in(**settings) as server, pytest.raises(InputError, match=line) as raised:
        Endpoint(server.url, "tiny").chat(CHAT)
    assert str(raised.value).startswith(f"endpoint {server.url}: ")
    assert "\n" not in str(raised.value)


def test_no_answer_in_time() -> None:
    with stand_in(delay=0.5) as server, pytest.raises(InputError, match=r"no answer in 0.1 s, 1 times: give it more"):
        Endpoint(server.url, "tiny", timeout=0.1, retries=0).chat(CHAT)


def test_a_wrong_address() -> None:
    with stand_in() as server:
        pass
    with pytest.raises(InputError, match=r"no server answers \(.*\): start it, or correct the address"):
        Endpoint(server.url, "tiny", retries=0).chat(CHAT)
    with stand_in() as server, pytest.raises(InputError, match=r"not found \(.*\): correct the address, which often"):
        Endpoint(server.url + "/v2", "tiny").chat(CHAT)


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("localhost:80/v1", "begins with http"),
        ("http://", "begins with http"),
        ("http://a/v1/chat/completions/", "give the address without /chat/completions: http://a/v1$"),
    ],
)
def test_what_is_no_address(url: str, line: str) -> None:
    with pytest.raises(InputError, match=line):
        Endpoint(url, "tiny")


def test_the_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(InputError, match=r"needs the package openai: pip install 'dpo_lightning\[endpoint\]'"):
        Endpoint("http://a/v1", "tiny")
