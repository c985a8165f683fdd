"""What the user said last, by templates of several kinds."""

from __future__ import annotations

import pytest

from dpo_lightning.data.last_turn import LastTurn
from tests.helpers.tiny import tiny_tokenizer

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
INST = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ '<s>[INST] ' + m['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'] + '</s>' }}{% endif %}{% endfor %}"
)
TURNS = [
    {"role": "system", "content": "be kind"},
    {"role": "user", "content": "who am i"},
    {"role": "assistant", "content": "a user\nof words"},
    {"role": "user", "content": "and who\nare you"},
]


class Spelling:
    """A tokenizer whose tokens are characters, with a chat template."""

    def __init__(self, template: str | None) -> None:
        self.own = tiny_tokenizer()
        self.own.chat_template = template

    def apply_chat_template(self, *args, **kwargs):
        return self.own.apply_chat_template(*args, **kwargs)

    def decode(self, ids):
        return "".join(map(chr, ids))


def turn(template, text):
    return LastTurn(Spelling(template))([ord(letter) for letter in text])


@pytest.mark.parametrize("template", [CHATML, INST])
@pytest.mark.parametrize("messages", [TURNS, TURNS[1:], TURNS[1:2]], ids=["system", "two turns", "one turn"])
def test_the_last_turn_is_found(template, messages):
    text = Spelling(template).apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert turn(template, text) == messages[-1]["content"]


def test_a_prompt_whose_start_is_cut_still_has_its_last_turn():
    text = Spelling(CHATML).apply_chat_template(TURNS, tokenize=False, add_generation_prompt=True)
    assert turn(CHATML, text[60:]) == "and who\nare you"


@pytest.mark.parametrize(
    "template", [CHATML, INST, None, "{{ raise_exception('no') }}", "{{ messages[0]['content'] }}"]
)
def test_a_text_has_none(template):
    assert turn(template, "once upon a time") is None
