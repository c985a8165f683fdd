"""Chat templates of axolotl's configs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import Any, cast

from dpo_lightning.cli.ways_over.axolotl.types import Strategy
from dpo_lightning.cli.ways_over.chat_jinja import Family, chat_jinja
from dpo_lightning.cli.ways_over.draft import Draft
from dpo_lightning.cli.ways_over.tree import From

_OWN = (
    "axolotl writes messages by a Jinja file of its own; here the tokenizer's chat template does. For theirs, give "
    "their file axolotl/utils/chat_templates/templates/{}.jinja as data.chat_template"
)
_FALLBACK = "the tokenizer's own here, which must have one"
_EOS = "axolotl's texts end with the end of turn and EOS"
_BOS = "a tokenizer that puts BOS before texts did so there; here the template alone writes tokens"


def templates(draft: Draft, strategies: Sequence[Strategy]) -> None:
    """Write the chat template, and that an EOS stands behind the end of a turn, as TRL puts one behind every text."""
    families = {each.family for each in strategies if each.family}
    chosen = {
        choice for number, each in enumerate(strategies) if each.by_template for choice in [_choice(draft, number)]
    }
    if len(families | chosen) > 1:
        draft.refuse("datasets", "the sets have several chat templates: train with one, or one set after another")
    elif families:
        (family,) = families
        draft.write_beside(
            "data.chat_template", f"{family}.jinja", chat_jinja(family, last_line=False), "datasets[].type"
        )
        if family == "chatml":
            draft.differs("datasets", _BOS)
    elif chosen:
        _chosen(draft, *next(iter(chosen)))
    if families or chosen:
        draft.put("data.eos", From("always", _EOS))
    for name in ("chat_template", "chat_template_jinja"):
        if draft.given.asks(name) and not any(each.by_template for each in strategies):
            draft.nothing_there(name, "no data set has a type that reads it")


def _choice(draft: Draft, number: int) -> tuple[str, str | None]:
    """Return the template of a set, and the Jinja of it where it is one."""
    entry, given = draft.given["datasets"][number], draft.given
    name = entry.get("chat_template") or given["chat_template"] or "tokenizer_default"
    jinja = entry.get("chat_template_jinja") or given["chat_template_jinja"]
    return ("jinja", jinja) if jinja else (name, None)


def _chosen(draft: Draft, name: str, jinja: Any) -> None:
    if jinja:
        if PurePath(str(jinja)).suffix in (".jinja", ".j2", ".txt") and "\n" not in str(jinja):
            draft.put("data.chat_template", From(str(jinja), "chat_template_jinja"))
        else:
            draft.write_beside("data.chat_template", "chat.jinja", str(jinja), "chat_template_jinja")
    elif name == "jinja":
        draft.refuse("chat_template", "jinja without chat_template_jinja: give the template there")
    elif name in ("chatml", "llama3"):
        text = chat_jinja(cast(Family, name), last_line=False, trims=name == "llama3")
        draft.write_beside("data.chat_template", f"{name}.jinja", text, "chat_template")
    elif name.startswith("tokenizer_default_fallback_"):
        draft.differs("chat_template", _FALLBACK)
    elif name != "tokenizer_default":
        draft.differs("chat_template", _OWN.format(name))
