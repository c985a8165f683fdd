"""Continuations, and tokens as training has them."""

from __future__ import annotations

from typing import Any

import pytest

from dpo_lightning.policy.sampling import Sampling
from dpo_lightning.rounds.candidates import Candidates
from dpo_lightning.rounds.continuations import Continuation, EndpointContinuer, PolicyContinuer, TrainingTokens
from dpo_lightning.rounds.endpoint import Endpoint
from tests.helpers.chains import chain
from tests.helpers.endpoint import stand_in
from tests.helpers.tiny import tiny_tokenizer

SAMPLING = Sampling(4, 6, 1.0, seed=5)
CHAT = "{% for m in messages %}{{ m['content'] | trim }}{{ ':' if m['role'] == 'user' else '!' }}{% endfor %}"


def tokens(template: str | None = None) -> TrainingTokens:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    return TrainingTokens(tokenizer)


def ids(text: str) -> list[int]:
    found: list[int] = tiny_tokenizer()(text)["input_ids"]
    return found


def test_a_model_goes_on_and_ends() -> None:
    model = chain({":": {"a": 1}, "a": {"b": 1}, "b": {"</s>": 1}})
    continuer = PolicyContinuer(model, "tiny", tokens(), SAMPLING)
    assert continuer.continued(ids("sun:"), [], 0) == [Continuation("ab", ids("a")[0])] * 4
    assert continuer.continued(ids("sun:"), ids("ab"), 0) == [Continuation("ab", None)] * 4
    assert continuer.end == 2
    assert continuer.made["model"] == "tiny"


def test_a_server_is_given_tokens() -> None:
    with stand_in(lambda request, number: "" if number else "yc") as server:
        continuer = EndpointContinuer(Endpoint(server.url, "tiny"), tokens(), SAMPLING)
        found = continuer.continued(ids("sun:"), ids("ab"), 2**31 + 3)
    assert found == [Continuation("abyc", ids("y")[0])] + [Continuation("ab", None)] * 3
    (sent,) = server.requests
    assert (sent["prompt"], sent["seed"], sent["n"], sent["max_tokens"]) == (ids("sun:ab"), 3, 4, 6)
    assert continuer.made == {
        "model": "tiny", **tokens().made, "samples_per_prompt": 4, "max_new_tokens": 6, "temperature": 1.0, "seed": 5
    }  # fmt: skip
    assert continuer.end == 2
    assert tokens().made == tokens().made != tokens(CHAT).made


@pytest.mark.parametrize("prompt", ["sun:", [{"role": "user", "content": "sun"}]], ids=["text", "messages"])
def test_the_tokens_of_an_answer_are_those_of_a_fit(prompt: Any) -> None:
    before, answer = tokens(CHAT).of(prompt, "ab", {})
    assert (before[-4:], answer) == (ids("sun:"), ids("ab"))


def test_a_pair_that_training_would_cut_elsewhere_is_none() -> None:
    """The template trims what the last message ends with, so the tokens of the prompt would be others."""
    asked = Candidates([{"role": "user", "content": "sun"}], ["ab"], beside={"id": 3})
    better, worse = ids("y") + ids("n")
    for prefix, found in (("a", "a"), ("a ", None)):
        row = tokens(CHAT).pair(asked, (ids("sun:"), ids(prefix)), better, worse)
        if found is None:
            assert row is None
        else:
            prompt = [*asked.prompt, {"role": "assistant", "content": found}]
            assert row == {"prompt": prompt, "chosen": "y", "rejected": "n", "id": 3}
    first = tokens(CHAT).pair(asked, (ids("sun:"), []), better, worse)
    assert first == {"prompt": asked.prompt, "chosen": "y", "rejected": "n", "id": 3}
