"""Chat templates as Jinja, against the strings that other tools write."""

from __future__ import annotations

import pytest

from dpo_lightning.cli.ways_over.chat_jinja import chat_jinja
from tests.helpers.tiny import tiny_tokenizer

ASKED = [{"role": "system", "content": "S"}, {"role": "user", "content": " hi "}]
ANSWERED = [*ASKED, {"role": "assistant", "content": "yo"}]
CHATML = "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\n hi <|im_end|>\n<|im_start|>assistant\n"
LLAMA3 = (
    "<s><|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\n hi <|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n"
)


@pytest.mark.parametrize(
    ("template", "prompt", "answer"),
    [
        (chat_jinja("chatml", last_line=False), CHATML, "yo<|im_end|>"),
        (chat_jinja("chatml", last_line=True), CHATML, "yo<|im_end|>\n"),
        (chat_jinja("llama3", last_line=False), LLAMA3, "yo<|eot_id|>"),
        (chat_jinja("llama3", last_line=False, trims=True), LLAMA3.replace(" hi ", "hi"), "yo<|eot_id|>"),
    ],
)
def test_what_is_written(template: str, prompt: str, answer: str) -> None:
    tokenizer = tiny_tokenizer(chat_template=template)
    assert tokenizer.apply_chat_template(ASKED, tokenize=False, add_generation_prompt=True) == prompt
    assert tokenizer.apply_chat_template(ANSWERED, tokenize=False) == prompt + answer
