"""Completions of prompts, into files that a killed command goes on with."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from dpo_lightning.errors import InputError
from dpo_lightning.policy.sampling import Sampling, sample_tokens
from dpo_lightning.rounds.candidates import read_candidates
from dpo_lightning.rounds.endpoint import Endpoint
from dpo_lightning.rounds.generation import EndpointSampler, PolicySampler, Sampled, own_seed, sample_file
from dpo_lightning.rounds.prompts import Asked
from tests.helpers.endpoint import StandIn, stand_in
from tests.helpers.saved import forked, reports
from tests.helpers.tiny import tiny_llama, tiny_tokenizer

ASKED = [Asked("the sun"[: 3 + number % 5], {"id": number}) for number in range(10)]
SAMPLING = Sampling(2, 8, 1.0, seed=3, prompts_at_once=1)
CHAT = (
    "{% for m in messages %}{{ m['role'] + ' ' + m['content'] + '.' }}{% endfor %}"
    "{% if add_generation_prompt %}so{% endif %}"
)


def policy(sampling: Sampling = SAMPLING, template: str | None = None, **settings: Any) -> PolicySampler:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    return PolicySampler(tiny_llama(), tokenizer, "tiny", sampling, **settings)


def test_chunks_are_sampled_each_with_a_seed_of_its_own() -> None:
    tokenizer, model = tiny_tokenizer(), tiny_llama()
    found = list(policy().candidates(ASKED))
    assert [len(rows) for rows in found] == [4, 4, 2]
    for number, rows in enumerate(found):
        ids = [tokenizer(row.prompt)["input_ids"] for row in rows]
        sampled = sample_tokens(
            model, ids, 2, samples_per_prompt=2, max_new_tokens=8, temperature=1.0, seed=own_seed(3, number)
        )
        assert [row.completions for row in rows] == [tokenizer.batch_decode(each, True) for each in sampled]
        assert [row.ended for row in rows] == [[ids[-1] == 2 for ids in each] for each in sampled]
    assert {True, False} == {each for rows in found for row in rows for each in row.ended}
    for done in (1, 4, 9):
        left = [row for rows in policy().candidates(ASKED, done) for row in rows]
        assert left == [row for rows in found for row in rows][done:]


def test_rows_are_read_by_the_next_step(tmp_path: Path) -> None:
    out = tmp_path / "samples.jsonl"
    told = sample_file(policy(template=CHAT), ASKED[:3], out)
    rows = read_candidates(out, "score")
    assert [row.prompt for row in rows] == [[{"role": "user", "content": each.prompt}] for each in ASKED[:3]]
    assert [row.beside for row in rows] == [{"id": 0}, {"id": 1}, {"id": 2}]
    assert {row.model for row in rows} == {"tiny"}
    assert told == Sampled(3, 6, sum(sum(row.ended) for row in rows), 0)
    sample_file(policy(template=CHAT, plain=True), ASKED[:3], tmp_path / "plain.jsonl")
    assert [row.prompt for row in read_candidates(tmp_path / "plain.jsonl", "score")] == ["the", "the ", "the s"]


def test_what_decides_on_the_rows_is_named_where_it_differs(tmp_path: Path) -> None:
    out = tmp_path / "samples.jsonl"
    sample_file(policy(), ASKED[:1], out)
    written = out.read_bytes()
    assert sample_file(policy(), ASKED[:1], out).before == 1
    other = PolicySampler(tiny_llama(seed=1), tiny_tokenizer(), "tiny", SAMPLING)
    for sampler, asked, named in [
        (policy(SAMPLING._replace(seed=4)), ASKED[:1], "seed 3, not 4"),
        (policy(), ASKED[1:2], 'prompts "'),
        (policy(), [ASKED[0]._replace(beside={})], 'prompts "'),
        (policy(template=CHAT), ASKED[:1], 'prompts "'),
        (other, ASKED[:1], 'weights "'),
    ]:
        with pytest.raises(InputError, match=f"was made of something else .*{named}"):
            sample_file(sampler, asked, out)
    assert out.read_bytes() == written


def killed(write: Any, part: Path, rows: int) -> None:
    """Write in a copy of this process, and kill it as soon as so many rows are there."""
    child, descriptor = forked(lambda report: write())
    limit = time.monotonic() + 60
    while not part.exists() or part.read_bytes().count(b"\n") < rows:
        time.sleep(0.005)
        assert time.monotonic() < limit
    os.kill(child, signal.SIGKILL)
    reports(child, descriptor)


def test_a_template_that_leaves_words_of_answers_out_is_refused(tmp_path: Path) -> None:
    whole = "{% for m in messages %}{{ m['content'] + '\n' }}{% endfor %}"
    thoughtless = whole.replace("m['content']", "m['content'][: 2 if m['role'] == 'assistant' else 9]")
    sampling = SAMPLING._replace(max_new_tokens=60)
    assert list(policy(sampling, whole).candidates(ASKED))
    with pytest.raises(InputError, match=r"leaves words out of \d+ of \d+ answers.*data.chat_template"):
        sample_file(policy(sampling, thoughtless), ASKED, tmp_path / "out.jsonl")
    assert not list(tmp_path.iterdir())
    assert list(policy(sampling, thoughtless, plain=True).candidates(ASKED))


def test_a_killed_command_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    asked = ASKED * 3
    sample_file(policy(), asked, tmp_path / "whole.jsonl")
    out = tmp_path / "killed.jsonl"
    killed(lambda: sample_file(policy(), asked, out), tmp_path / ".killed.jsonl.part", 4)
    assert not out.exists()
    part = tmp_path / ".killed.jsonl.part"
    part.write_bytes(part.read_bytes()[:-7])  # a row that is not whole, in the middle of a chunk
    told = sample_file(policy(), asked, out)
    assert 3 <= told.before < 30
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def server_sampler(server: StandIn, **settings: Any) -> EndpointSampler:
    return EndpointSampler(Endpoint(server.url, "tiny", at_once=2), SAMPLING, **settings)


def test_a_servers_completions_are_asked_with_a_seed_of_each_prompt(tmp_path: Path) -> None:
    out = tmp_path / "samples.jsonl"
    with stand_in() as server:
        sample_file(server_sampler(server), ASKED[:3], out)
        seeds = [own_seed(3, number) % 2**31 for number in range(3)]
        rows = [json.loads(line) for line in out.read_text().splitlines()]
        assert rows[1] == {
            "prompt": [{"role": "user", "content": "the "}],
            "completions": [f"the  {seeds[1]}", f"the  {seeds[1] + 1}"],
            "ended": [True, True],
            "model": "tiny",
            "id": 1,
        }
        assert sorted(each["seed"] for each in server.requests) == sorted(seeds)
        assert {each["temperature"] for each in server.requests} == {1.0}
        plain = EndpointSampler(Endpoint(server.url, "tiny"), SAMPLING._replace(top_p=0.5), plain=True)
        ((row,),) = plain.candidates(ASKED[:1])
        assert row.prompt == "the"
        assert (server.requests[-1]["prompt"], server.requests[-1]["top_p"]) == ("the", 0.5)


def test_a_killed_command_does_not_ask_a_server_again(tmp_path: Path) -> None:
    out, part = tmp_path / "killed.jsonl", tmp_path / ".killed.jsonl.part"
    with stand_in() as server:
        sample_file(server_sampler(server), ASKED, tmp_path / "whole.jsonl")
        server.delay = 0.02
        killed(lambda: sample_file(server_sampler(server), ASKED, out), part, 3)
        time.sleep(0.1)  # what it has asked is answered
        server.requests.clear()
        before = sample_file(server_sampler(server), ASKED, out).before
        assert len(server.requests) == 10 - before < 8
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_a_server_that_fails_in_the_middle_loses_nothing(tmp_path: Path) -> None:
    out = tmp_path / "samples.jsonl"
    with stand_in(lambda request, number: None if "su" in str(request["messages"]) else "a") as server:
        with pytest.raises(InputError, match="an answer has no text"):
            sample_file(server_sampler(server), ASKED, out)
        assert not out.exists()
        server.answer = lambda request, number: "a"
        assert sample_file(server_sampler(server), ASKED, out).before == 3


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        (Asked("a", tools=[{}]), "tools and arguments of a template are not sent to a server"),
        (Asked([{"role": "assistant", "content": "a"}]), "it ends with the beginning of an answer"),
    ],
)
def test_what_is_not_sent_to_a_server(tmp_path: Path, asked: Asked, line: str) -> None:
    with stand_in() as server, pytest.raises(InputError, match=rf"prompt 1 \(from 0\): {line}"):
        sample_file(server_sampler(server), [ASKED[0], asked], tmp_path / "samples.jsonl")
    assert not server.requests
