"""Scores of a reward model are those of plain transformers, one text at a time."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from dpo_lightning.errors import InputError
from dpo_lightning.rounds.candidates import Candidates
from dpo_lightning.rounds.scorers.base import scored
from dpo_lightning.rounds.scorers.options import add_scorer_arguments, scorer_of
from tests.helpers.runs import saved_model
from tests.helpers.tiny import tiny_tokenizer

CHAT = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
TALK = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}, {"role": "user", "content": "and"}]
ROWS = [
    Candidates("the sun", ["shines", "is a star, far away from here", "no"]),
    Candidates(TALK, ["what a day", "so"]),
]
PLACES = ["line 1", "line 2"]


def reward_model(directory: Path, *, template: str | None = CHAT, seed: int = 0, **settings: Any) -> str:
    """A tiny Llama with a head of rewards, and its tokenizer."""
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    shape = {"vocab_size": 64, "initializer_range": 0.3, "num_labels": 1, "pad_token_id": 0, **sizes, **settings}
    torch.manual_seed(seed)
    config = AutoConfig.for_model(shape.pop("model_type", "llama"), **shape)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(directory)
    tokenizer = tiny_tokenizer(**({} if template else {"cls_token": "<s>", "sep_token": "</s>"}))
    tokenizer.chat_template = template
    tokenizer.save_pretrained(directory)
    return str(directory)


def loaded(model: str, *words: str) -> Any:
    parser = ArgumentParser()
    add_scorer_arguments(parser)
    return scorer_of(parser.parse_args(["--reward_model", model, *words]), "score")


def one_by_one(directory: str, label: int = 0) -> list[list[float]]:
    model = AutoModelForSequenceClassification.from_pretrained(directory).eval()
    tokenizer, found = AutoTokenizer.from_pretrained(directory), []
    for row in ROWS:
        start = [{"role": "user", "content": row.prompt}] if isinstance(row.prompt, str) else row.prompt
        chats = [[*start, {"role": "assistant", "content": text}] for text in row.completions]
        ids = [tokenizer.apply_chat_template(chat, return_tensors="pt", return_dict=False) for chat in chats]
        with torch.no_grad():
            found.append([model(each).logits[0, label].item() for each in ids])
    return found


def assert_near(found: list[list[float]], expected: list[list[float]]) -> None:
    for one, two in zip(found, expected, strict=True):
        assert one == pytest.approx(two, rel=1e-4, abs=1e-5)


def test_a_padded_batch_scores_as_one_by_one(tmp_path: Path) -> None:
    model = reward_model(tmp_path / "model")
    scorer = loaded(model)
    assert scorer._pads
    expected = one_by_one(model)
    assert len({round(value, 3) for values in expected for value in values}) == 5
    assert_near(scored(scorer, ROWS, PLACES), expected)


def test_without_a_pad_token_texts_go_one_by_one(tmp_path: Path) -> None:
    model = reward_model(tmp_path / "model", pad_token_id=None)
    scorer = loaded(model)
    assert not scorer._pads
    assert_near(scored(scorer, ROWS, PLACES), one_by_one(model))


def test_a_label_of_several_by_number_and_by_name(tmp_path: Path) -> None:
    model = reward_model(tmp_path / "model", num_labels=3, id2label={0: "bad", 1: "good", 2: "odd"})
    with pytest.raises(InputError, match=r"it gives 3 logits: say which is the score as --label \(0 bad, 1 good"):
        loaded(model)
    with pytest.raises(InputError, match="--label fine: it is none of 0 bad"):
        loaded(model, "--label", "fine")
    for label in ("1", "good"):
        assert_near(scored(loaded(model, "--label", label), ROWS, PLACES), one_by_one(model, 1))


def test_an_encoder_reads_prompt_and_answer_as_two_segments(tmp_path: Path) -> None:
    model = reward_model(tmp_path / "model", template=None, model_type="bert")
    with pytest.raises(InputError, match="no chat template: --plain"):
        loaded(model)
    plain, tokenizer = AutoModelForSequenceClassification.from_pretrained(model).eval(), tiny_tokenizer()
    texts = ROWS[0].completions
    expected = [plain(**tokenizer("the sun", text, return_tensors="pt")).logits.item() for text in texts]
    scorer = loaded(model, "--plain")
    assert scorer.score(ROWS[:1])[0] == pytest.approx(expected, rel=1e-4)
    with pytest.raises(InputError, match="line 2, completion 0: it cannot be written: messages are no plain text"):
        scored(scorer, ROWS, PLACES)


def test_a_text_that_is_too_long_is_named_or_cut_and_counted(tmp_path: Path) -> None:
    model = reward_model(tmp_path / "model", max_position_embeddings=40)
    with pytest.raises(InputError, match=r"line 1, completion 1: 5. tokens, and the model reads 40: --max_length"):
        scored(loaded(model), ROWS, PLACES)
    with pytest.raises(InputError, match="--max_length 50: the model reads 40 tokens"):
        loaded(model, "--max_length", "50")
    scorer = loaded(model, "--max_length", "38")
    rows = [Candidates("the sun", ["is a star, far away from here", "is a star, far away; other end", "no"])]
    scores = scored(scorer, rows, PLACES)[0]
    assert scores[0] == scores[1] != scores[2]
    assert list(scorer.columns()) == [{"texts_cut": 2}]
    assert scorer.lines(scorer.columns()) == ["2 texts were cut at 38 tokens"]


def test_what_is_no_reward_model_is_refused(tmp_path: Path) -> None:
    language = saved_model(tmp_path / "language", id2label={0: "reward"})
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(language)
    with pytest.raises(InputError, match=r"weights are not in it and would be random \(score.weight\)"):
        loaded(language).score(ROWS)
    with pytest.raises(InputError, match="no such directory"):
        loaded(str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="--device tpu9"):
        loaded(reward_model(tmp_path / "model"), "--device", "tpu9").score(ROWS)


def test_the_weights_decide_and_the_device_does_not(tmp_path: Path) -> None:
    one = loaded(reward_model(tmp_path / "model")).made
    assert loaded(str(tmp_path / "model"), "--device", "cpu").made == one
    assert loaded(str(tmp_path / "model"), "--dtype", "bfloat16").made != one
    assert loaded(reward_model(tmp_path / "model", seed=1)).made != one


def test_tools_of_a_row_reach_the_template(tmp_path: Path) -> None:
    model = reward_model(tmp_path / "model", template="{% for t in tools or [] %}{{ t['name'] }}{% endfor %}" + CHAT)
    rows = [Candidates("a", ["b"], beside={"tools": [{"name": name}]} if name else {}) for name in ("x", "yy", "")]
    scores = [values[0] for values in loaded(model).score(rows)]
    assert len({*scores}) == 3


def test_the_beginning_of_an_answer_is_one_message_with_what_continues_it(tmp_path: Path) -> None:
    model = reward_model(tmp_path / "model")
    begun = Candidates([*TALK[:1], {"role": "assistant", "content": "so w"}], ["hat a day"])
    whole = Candidates(TALK[:1], ["so what a day"])
    found, expected = loaded(model).score([begun, whole])
    assert_near([found], [expected])
