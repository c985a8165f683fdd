"""Write the table of `docs/chat-templates.md`: tokens by each chat template that TRL ships, beside TRL's own.

`python -m tools.docs.chat_templates` writes it; `tests/test_chat_templates.py` compares.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import trl
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast
from trl.data_utils import common_prefix_length

from dpo_lightning.compat.transformers import dated
from dpo_lightning.data import Example, ExampleTokenizer
from dpo_lightning.data.tokenize import Encoded
from dpo_lightning.data.tokenize.boundary import Boundary
from dpo_lightning.data.tokenize.template_dates import reads_clock
from dpo_lightning.errors import InputError

PAGE = Path(__file__).resolve().parents[2] / "docs/chat-templates.md"
TEMPLATES = Path(trl.__file__).parent / "chat_templates"
BEGIN, END = "<!-- table: python -m tools.docs.chat_templates -->", "<!-- end of table -->"
DATE = datetime.date(2026, 1, 2)


def _turn(role: str, content: str | None, **more: Any) -> dict[str, Any]:
    return {"role": role, **({} if content is None else {"content": content}), **more}


USER, SYSTEM = _turn("user", "What is two and two?"), _turn("system", "Be brief.")
MULTI = [USER, _turn("assistant", "Four."), _turn("user", "And three?")]
FOUR, FIVE = _turn("assistant", "Four, as everybody knows."), _turn("assistant", "Five.")
THOUGHTS = [
    _turn("assistant", f"<think>\nLet me count.\n</think>\n\n{said}", reasoning_content="Let me count.")
    for said in ("Four.", "Five.")
]
CALL = {"type": "function", "id": "a1b2c3d4e", "function": {"name": "add", "arguments": {"x": 2, "y": 2}}}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "add",
            "description": "Add two numbers.",
            "parameters": {"type": "object", "properties": {"x": {"type": "integer"}, "y": {"type": "integer"}}},
        },
    }
]
CALLED = [_turn("assistant", None, tool_calls=[CALL]), _turn("tool", "4", tool_call_id="a1b2c3d4e", name="add"), FOUR]

CASES: Mapping[str, Example] = {
    "single": Example.pair([USER], [FOUR], [FIVE]),
    "system": Example.pair([SYSTEM, USER], [FOUR], [FIVE]),
    "multi": Example.pair(MULTI, [FOUR], [FIVE]),
    "system, multi": Example.pair([SYSTEM, *MULTI], [FOUR], [FIVE]),
    "white space": Example.pair(
        [_turn("user", " Hi \n")], [_turn("assistant", "\nFour \n")], [_turn("assistant", " ?")]
    ),
    "thoughts": Example.pair([USER], THOUGHTS[:1], THOUGHTS[1:]),
    "thoughts, multi": Example.pair(MULTI, THOUGHTS[:1], THOUGHTS[1:]),
    "several turns": Example.pair([USER], [FOUR, _turn("user", "Sure?"), FOUR], [FIVE, _turn("user", "Sure?"), FIVE]),
    "tools": Example.pair([USER], CALLED, [FIVE])._replace(tools=TOOLS),
}
SIGNS = {
    Boundary.CLEAN: "=",
    Boundary.MERGED: "merged",
    Boundary.SHARED: "shared",
}


@cache
def _backend() -> str:
    """Return a byte-level BPE that splits as Qwen's does: line breaks merge, and words keep a space before them."""
    tokenizer = Tokenizer(models.BPE())
    split = Regex(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(split, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(
        ["What is two and two? Four, as everybody knows.\n\nFive.\n\nx\n\n\n Let me count.\n"] * 9, trainer
    )
    return tokenizer.to_str()


def tokenizer_of(template: str) -> PreTrainedTokenizerFast:
    """Return a tokenizer that knows what a template writes between the texts as tokens, tags as ordinary ones."""
    marks = sorted({*re.findall(r"<[|｜]?[^\s<>{}'\"%=]+[|｜]?>|\[/?[A-Z_]+\]", template)} - {"<s>", "</s>"})
    tags = {
        mark for mark in marks if re.fullmatch(r"</?\w+>", mark) and mark.replace("/", "").replace("<", "</") in marks
    }
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_backend()), bos_token="<s>", eos_token="</s>"
    )
    tokenizer.add_tokens([AddedToken(mark, special=mark not in tags, normalized=False) for mark in marks])
    tokenizer.chat_template = template
    return tokenizer


def templates() -> dict[str, str]:
    """Return the chat templates of the installed TRL by name, but for the variants that it trains with."""
    files = sorted(TEMPLATES.glob("*.jinja"))
    return {each.stem: each.read_text(encoding="utf-8") for each in files if not each.stem.endswith("_training")}


def outcome(template: str, example: Example, **arguments: Any) -> str:
    """Return how the tokens of an example are beside those of its template and of TRL, as the table says it."""
    tokenizer = tokenizer_of(template)
    encode = ExampleTokenizer(tokenizer, 100_000, template_arguments=arguments, template_date=DATE)
    try:
        encoded = encode(example)
    except InputError as error:
        return "left out" if "leaves out" in str(error) else "raises"
    for form, words in FORMS.items():
        try:
            said = _beside(tokenizer, form, example, encoded, arguments)
        except Exception:
            continue
        if said != "differs":
            return f"{said}{words}"
    return "differs"


def _as_given(message: dict[str, Any]) -> dict[str, Any]:
    return message


def _in_parts(message: dict[str, Any]) -> dict[str, Any]:
    return {**message, "content": [{"type": "text", "text": message["content"]}]}


def _with_texts(message: dict[str, Any]) -> dict[str, Any]:
    calls = [
        {**call, "function": {**call["function"], "arguments": json.dumps(call["function"]["arguments"])}}
        for call in message.get("tool_calls", ())
    ]
    return {"content": "", **message, "tool_calls": calls} if calls else message


FORMS = {_as_given: "", _in_parts: " (parts)", _with_texts: " (JSON)"}


def _beside(
    tokenizer: PreTrainedTokenizerFast,
    form: Callable[[dict[str, Any]], dict[str, Any]],
    example: Example,
    encoded: Encoded,
    arguments: Mapping[str, Any],
) -> str:
    """Compare with the template's own tokens of messages in a form, and with the length that TRL gives the prompt."""

    def ids(messages: list[dict[str, Any]], **how: bool) -> list[int]:
        with dated([tokenizer.chat_template] if reads_clock(tokenizer.chat_template) else [], DATE):
            return tokenizer.apply_chat_template(
                [*map(form, messages)], tools=example.tools, tokenize=True, return_dict=False, **how, **arguments
            )

    (prompt, completions), boundary = encoded.example[1:3], encoded.boundary
    messages: Any = example.prompt
    answers: Any = example.completions
    alone = ids(messages, add_generation_prompt=True)
    dialogues = [ids(messages + answer) for answer in answers]
    shared = min(common_prefix_length(alone, each) for each in dialogues)
    ended = 0
    for whole, completion in zip(dialogues, completions, strict=True):
        ours = prompt + completion
        if boundary is Boundary.MERGED:
            same = prompt == alone and tokenizer.decode(ours) == tokenizer.decode(whole)
        else:
            ended += len(ours) > len(whole)
            same = prompt == alone[:shared] and ours in (whole, [*whole, tokenizer.eos_token_id])
        if not same:
            return "differs"
    return SIGNS[boundary] + (" + EOS" if ended else "")


def remedy(template: str) -> str:
    """Return what to set so that no prompt of the table ends elsewhere, in as many cases as an argument can do it."""
    for example in CASES.values():
        with suppress(InputError):
            encode = ExampleTokenizer(tokenizer_of(template), 100_000, template_date=DATE)
            if encode(example).boundary and (found := encode.remedy(example)):
                ((name, value),) = found.items()
                return f"`{name}: {str(value).lower()}`"
    return ""


def row(name: str, template: str) -> str:
    """Return the line of a template."""
    cells = [outcome(template, example) for example in CASES.values()]
    return f"| {name} | {' | '.join(cells)} | {remedy(template)} |"


def table() -> str:
    """Return the table in Markdown."""
    lines = [f"| template | {' | '.join(CASES)} | set |", "|---" * (len(CASES) + 2) + "|"]
    lines += [row(name, template) for name, template in templates().items()]
    return "\n".join(lines) + "\n"


def written(page: str) -> str:
    """Return a page with the table between its two marks."""
    head, rest = page.split(BEGIN)
    return f"{head}{BEGIN}\n\n{table()}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
