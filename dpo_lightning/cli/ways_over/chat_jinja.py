"""Chat templates that other trainers have as strings of their own, as Jinja: ChatML and that of Llama 3."""

from __future__ import annotations

from typing import Literal

Family = Literal["chatml", "llama3"]

_CHATML = (
    "{%- for message in messages -%}\n"
    "{{ '<|im_start|>' + message['role'] + '\\n' + CONTENT + '<|im_end|>' }}\n"
    "{%- if AGAIN %}{{ '\\n' }}{% endif -%}\n"
    "{%- endfor -%}\n"
    "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif -%}\n"
)
_LLAMA3 = (
    "{{- bos_token -}}\n"
    "{%- for message in messages -%}\n"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + CONTENT + '<|eot_id|>' }}\n"
    "{%- endfor -%}\n"
    "{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif -%}\n"
)


def chat_jinja(family: Family, *, last_line: bool, trims: bool = False) -> str:
    """Return a chat template as Jinja.

    Args:
        family: Whose tokens it writes. ChatML has no system message of its own.
        last_line: Whether ChatML's line break also stands behind the last turn, where it is trained on. Llama 3 has
            none.
        trims: Whether white space around the text of a message is taken off.
    """
    content = "message['content'] | trim" if trims else "message['content']"
    again = "true" if last_line else "not loop.last or add_generation_prompt"
    text = _CHATML if family == "chatml" else _LLAMA3
    return text.replace("CONTENT", f"({content})").replace("AGAIN", again)
