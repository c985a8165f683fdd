"""The lines that a fit begins with."""

from __future__ import annotations

from typing import Any

import pytest

from dpo_lightning.report.run_start import Plan, columns, start_lines

FACTS: dict[str, Any] = {
    "seed": 7,
    "steps_planned": 1200,
    "machine": {"device": "NVIDIA H200", "ranks": 8, "precision": "bf16-mixed"},
    "model": {
        "name": "/models/Qwen2.5-7B-Instruct",
        "class": "Qwen2ForCausalLM",
        "parameters": 7_650_000_000,
        "trainable": 40_000_000,
        "lora": "LORA rank 16 alpha 32 on down_proj, up_proj",
    },
    "reference": "AdapterOff()",
    "objective": {"name": "DPO", "settings": {"beta": 0.1, "label_smoothing": 0.0, "name": None}},
    "optimizer": {"name": "AdamW", "lr": 5e-6},
    "layout": "tree",
}
PLAN = Plan(
    train=19_200,
    sets={"": 500},
    dropped={"whose prompt fills max_length": 12, "without a preference": 3},
    tokens=30_000_000,
    step_examples=32,
    steps_of_epoch=600,
    epochs=2,
    coverage=0.871,
    schedule="Cosine(warmup=0.1)",
    processes="DDP",
    memory=(12.4 * 2**30, 139.7 * 2**30),
    seconds=4000,
    places={"files in": "lightning_logs/version_3", "saves to": "checkpoints"},
)


def test_each_thing_that_is_known_is_a_labelled_line() -> None:
    assert start_lines(FACTS, PLAN, 200) == [
        "examples   19,200 pairs to train on, 500 held out; 15 dropped: 12 whose prompt fills max_length, 3 without a "
        "preference",
        "steps      1,200 of 32 pairs, about 50,000 tokens; 2 epochs, each 600 steps, 30 M tokens",
        "layout     tree: completions share their prompt, and nothing is padded",
        "model      Qwen2.5-7B-Instruct (Qwen2ForCausalLM): 7.65 B parameters, 40 M of them trained (0.52%); adapters: "
        "LORA rank 16 alpha 32, which cover 87.1% of the model",
        "reference  AdapterOff: the base weights, with the adapters switched off",
        "objective  DPO(beta=0.1, label_smoothing=0)",
        "optimizer  AdamW, learning rate 5e-06, Cosine(warmup=0.1)",
        "device     NVIDIA H200, precision bf16-mixed, 8 processes (DDP), seed 7",
        "needs      about 12 GiB of 140, about 1:06:40 for the steps that are left, both estimated",
        "files in   lightning_logs/version_3",
        "saves to   checkpoints",
    ]


def test_what_is_not_known_is_not_said() -> None:
    assert start_lines({}, Plan(), 80) == []
    said = start_lines({"steps_planned": 5, "model": {"class": "MyModel"}}, Plan(step_examples=8), 80)
    assert said == ["steps      5 of 8 pairs", "model      MyModel"]


def test_compiled_layers_are_said_of_the_model() -> None:
    model = {"class": "MyModel", "parameters": 10, "trainable": 10, "compiled_layers": 2}
    assert start_lines({"model": model}, Plan(), 80) == [
        "model      MyModel: 10 parameters, all trained; 2 layers run compiled"
    ]


def test_a_stream_without_an_end_says_so() -> None:
    assert start_lines({}, Plan(streams=True, sets={"a": 3, "b": 4}, step_examples=8), 80) == [
        "examples   a stream of pairs to train on, 7 held out (a 3, b 4)",
        "steps      no end is set, each of 8 pairs",
    ]


def test_a_resumed_run_says_first_from_where() -> None:
    assert start_lines(FACTS, Plan(resumed=("ck/step=9.ckpt", 9)), 80)[0] == (
        "goes on    from ck/step=9.ckpt, after optimizer step 9"
    )


def test_a_layout_that_nobody_chose_says_why() -> None:
    assert start_lines({"layout": "padded", "layout_why": "GPT-Neo's mask is its own"}, Plan(), 120) == [
        "layout     padded: a row for each completion, since GPT-Neo's mask is its own"
    ]


@pytest.mark.parametrize("width", [40, 80, 120])
def test_no_line_is_longer_than_the_terminal_and_no_word_is_lost(width: int) -> None:
    lines = start_lines(FACTS, PLAN, width)

    assert max(map(columns, lines)) <= width
    whole = " ".join(start_lines(FACTS, PLAN, 1000)).split()
    assert " ".join(lines).split() == whole


def test_wide_characters_count_as_the_two_columns_that_they_take() -> None:
    model = {"name": "模型" * 12, "class": "LlamaForCausalLM", "parameters": 10, "trainable": 10}
    lines = start_lines({"model": model}, Plan(), 64)

    assert lines[0] == "model      " + "模型" * 12
    assert columns(lines[0]) == 59
    assert columns("é") == columns("e\N{COMBINING ACUTE ACCENT}") == 1


def test_a_word_that_is_longer_than_a_line_stays_whole() -> None:
    path = "a/" * 60
    assert f"  {path}" in start_lines({}, Plan(places={"saves to": path}), 40)
