"""The implicit reward of a run is what its `predict` says."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from dpo_lightning import DPO, KTO, LoRA, PlackettLuceDPO, SimPO
from dpo_lightning.callbacks import Export
from dpo_lightning.errors import InputError
from dpo_lightning.rounds.candidates import Candidates
from dpo_lightning.rounds.scorers.base import scored
from dpo_lightning.rounds.scorers.compared import TokenRatios
from dpo_lightning.rounds.scorers.implicit import rewards_of
from dpo_lightning.rounds.scorers.options import add_scorer_arguments, scorer_of
from tests.helpers.runs import data, module, rows, saved_model, trainer

CHAT = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}{{ 'assistant: ' }}"
COUNT = 8
PLACES = [f"line {number}" for number in range(1, COUNT + 1)]


def candidates() -> list[Candidates]:
    return [Candidates(row["prompt"], [row["chosen"], row["rejected"]]) for row in rows(COUNT)]


def loaded(run: object, *words: object) -> Any:
    parser = ArgumentParser()
    add_scorer_arguments(parser)
    return scorer_of(parser.parse_args(["--run", *map(str, (run, *words))]), "score")


def predicted(run: Any, path: Path) -> list[list[float]]:
    """What `predict` says of the rows, chosen and rejected."""
    pairs = data(path, COUNT, tokenizer=None, val_split=None, test_split="train")
    found = {}
    for batch in trainer().predict(run, pairs):
        for row, *rewards in zip(*(batch[name].tolist() for name in ("pair_id", "chosen", "rejected")), strict=True):
            found[row] = rewards
    return [found[number] for number in range(COUNT)]


@pytest.mark.parametrize(
    ("objective", "settings"),
    [(DPO(beta=0.7), {}), (DPO(beta=0.3), {"lora": LoRA(r=4)}), (SimPO(beta=2.0), {})],
    ids=["DPO", "LoRA", "SimPO"],
)
def test_a_checkpoint_and_its_export_score_as_predict(tmp_path: Path, objective: Any, settings: Any) -> None:
    base = saved_model(tmp_path / "model")
    run = module(base, lr=5e-2, objective=objective, **settings)
    fitting = trainer(callbacks=[Export(str(tmp_path / "out"))])
    fitting.fit(run, data(tmp_path, COUNT, tokenizer=None))
    fitting.save_checkpoint(tmp_path / "run.ckpt")
    expected = predicted(run, tmp_path)
    with loaded(tmp_path / "run.ckpt") as scorer:
        found = scored(scorer, candidates(), PLACES)
    assert max(abs(one - two) for one, two in expected) > 0.05
    for one, two in zip(found, expected, strict=True):
        assert one == pytest.approx(two, rel=1e-3, abs=1e-4)
    if isinstance(objective, SimPO):
        return
    words = [] if settings else ["--reference", base]
    with loaded(tmp_path / "out", "--beta", objective.beta, *words) as scorer:
        for one, two in zip(scored(scorer, candidates(), PLACES), expected, strict=True):
            assert one == pytest.approx(two, rel=1e-3, abs=1e-4)


def plain_logps(directory: str, prompt: str, completion: str) -> list[float]:
    """Plain transformers: the log-prob of each token of a completion."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(directory), AutoTokenizer.from_pretrained(directory)
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in (prompt, completion)]
    with torch.no_grad():
        logps = model(torch.tensor([[*ids[0], *ids[1]]])).logits[0].log_softmax(-1)
    return [logps[len(ids[0]) + place - 1, each].item() for place, each in enumerate(ids[1])]


def test_tokens_of_several_answers_to_messages_are_those_of_plain_transformers(tmp_path: Path) -> None:
    one, two = (saved_model(tmp_path / name, seed=number) for number, name in enumerate(("one", "two")))
    tokenizer = AutoTokenizer.from_pretrained(one)
    tokenizer.chat_template = CHAT.replace("{{ 'a", "{% if add_generation_prompt %}{{ 'a") + "{% endif %}"
    tokenizer.save_pretrained(one)
    row = Candidates([{"role": "user", "content": "hi"}], ["ho", "hello", "so"], ended=[True, False, True])
    with loaded(one, "--reference", two, "--beta", 0.5) as scorer:
        found = scorer.token_ratios([row])[0]
        scores = scorer.score([row])[0]
    for text, ended, ratios, score in zip(row.completions, row.ended or (), found, scores, strict=True):
        end = "\n</s>" if ended else ""
        expected = [plain_logps(each, "user: hi\nassistant: ", text + end) for each in (one, two)]
        assert ratios.policy.tolist() == pytest.approx(expected[0], rel=1e-3)
        assert ratios.reference.tolist() == pytest.approx(expected[1], rel=1e-3)
        assert score == pytest.approx(0.5 * ratios.ratios.sum(), rel=1e-4)
        assert tokenizer.decode(ratios.ids) == text + end


def test_every_kind_of_objective_says_its_scale() -> None:
    given = [
        TokenRatios(*(torch.tensor(values).numpy() for values in each))
        for each in (
            ([1, 2], [-1.0, -2.0], [-1.5, -3.5]),
            ([3], [-1.0], [-0.5]),
        )
    ]
    for objective in (DPO(beta=0.5), KTO(beta=0.5), PlackettLuceDPO(beta=0.5)):
        assert rewards_of(objective, given).tolist() == pytest.approx([1.0, -0.25])
    assert rewards_of(SimPO(beta=2.0), given, has_reference=False).tolist() == pytest.approx([-3.0, -2.0])


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    model = saved_model(tmp_path / "model", max_position_embeddings=20)
    run = module(model)
    fitting = trainer(max_steps=1)
    fitting.fit(run, data(tmp_path, COUNT, tokenizer=None))
    fitting.save_checkpoint(tmp_path / "run.ckpt")
    other = saved_model(tmp_path / "other", vocab_size=65)
    said = {
        (model,): "a model does not say its objective: give --beta",
        (model, "--beta", 1): "a whole model, and no reference is beside it: give --reference MODEL",
        (model, "--beta", 1, "--reference", tmp_path / "no"): "no such directory",
        (model, "--beta", 1, "--reference", other): "it has 65 tokens and the policy 64",
        (tmp_path / "run.ckpt", "--beta", 1): "--beta: the checkpoint says what its run had",
        (tmp_path / "run.ckpt", "--reference", model): "--reference: the checkpoint says what its run had",
        (tmp_path / "none.ckpt",): "there is no checkpoint",
        (model, "--beta", 1, "--reference", model, "--device", "tpu9"): "--device tpu9: ",
    }
    for words, line in said.items():
        with pytest.raises(InputError, match=line), loaded(*words) as scorer:
            scorer.score(candidates())
    with loaded(model, "--beta", 1, "--reference", model) as scorer:
        with pytest.raises(InputError, match="line 1, completion 0: 22 tokens with its prompt, and the model reads 20"):
            scored(scorer, candidates(), PLACES)
        with pytest.raises(InputError, match=r"line 1: .*chat template"):
            scored(scorer, [Candidates([{"role": "user", "content": "a"}], ["b"])], PLACES)
        with pytest.raises(InputError, match="line 1, completion 0: it has no token"):
            scored(scorer, [Candidates("a", [""], ended=[False])], PLACES)
    with pytest.raises(InputError, match="--beta must be a finite number greater than 0"):
        loaded(model, "--beta", "0")
    with pytest.raises(InputError, match="--config"):
        loaded(model, "--config", tmp_path / "none.yaml")
