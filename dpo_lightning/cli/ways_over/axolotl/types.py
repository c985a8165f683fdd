"""The strategies that `type` of a data set names, as formats of rows and chat templates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dpo_lightning.cli.ways_over.chat_jinja import Family

_WORST = (
    "its strategy takes the last two answers by rank, the worst as chosen: leave the set out, or read it by "
    "ScoredPairsFormat here"
)


@dataclass(frozen=True)
class Strategy:
    """How a strategy reads rows.

    Args:
        format: Class of ours with its settings; None leaves it to the first rows.
        settings: Arguments of the class.
        family: The chat template that its strings are; None for none, or where `chat_template` says it.
        by_template: Whether `chat_template` of the config says how messages are written.
        said: What differs; empty for nothing.
        refused: Why it cannot be converted, with what to do; empty where it can.
    """

    format: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    family: Family | None = None
    by_template: bool = False
    said: str = ""
    refused: str = ""


_FIRST = "there the first question and answer of each dialogue alone; here whole dialogues"
_COLUMN = "there prompt, input, question or instruction, whichever is there; here prompt: else set data.format.prompt"
_PAIRS = {
    "default": Strategy("RowFormat", {"as_messages": True}, said=_COLUMN),
    "intel": Strategy("RowFormat", {"prompt": "question", "as_messages": True, "system": "system"}),
    "icr": Strategy("RowFormat", {"prompt": "input", "as_messages": True, "system": "system"}),
    "prompt_pairs": Strategy("RowFormat", {"as_messages": True}),
    "ultra": Strategy("RowFormat", {}, said=_FIRST),
    "argilla_chat": Strategy("RowFormat", {}, said=_FIRST),
}
_LABELLED = {
    "argilla": Strategy("UnpairedFormat", {"prompt": "instruction", "as_messages": True}),
    "argilla_chat": Strategy("UnpairedFormat", {}, said=_FIRST),
    "intel": Strategy("UnpairedFormat", {"prompt": "question", "as_messages": True}),
    "prompt_pairs": Strategy("UnpairedFormat", {"as_messages": True}),
    "ultra": Strategy("UnpairedFormat", {"as_messages": True}),
}


def _of_families(each: Mapping[str, Strategy]) -> dict[str, Strategy]:
    families: tuple[Family, ...] = ("chatml", "llama3")
    return {
        f"{family}.{name}": Strategy(found.format, found.settings, family, said=found.said)
        for family in families
        for name, found in each.items()
    }


_WHOLE = Strategy("RowFormat", {}, by_template=True)
STRATEGIES: dict[str, dict[str, Strategy]] = {
    "pairs": {
        **_of_families(_PAIRS),
        "chat_template.default": Strategy("ShareGPTFormat", {}, by_template=True),
        "chat_template.argilla_chat": _WHOLE,
        "passthrough.default": Strategy(),
        "zephyr.nectar": Strategy(refused=_WORST),
    },
    "labelled": _of_families(_LABELLED),
    "odds": {"chat_template.argilla": _WHOLE},
}
"""Strategies of pairs (rl: dpo, ipo, simpo), of labelled completions (kto), and of orpo, by their whole names."""


def kind_of(rl: str) -> str:
    """Return which strategies an `rl` has."""
    return {"kto": "labelled", "orpo": "odds"}.get(rl, "pairs")


def named(rl: str, name: str) -> Strategy:
    """Return the strategy of a name; a name without a part after the dot is that of `default`."""
    whole = name if "." in name else f"{name}.default"
    known = STRATEGIES[kind_of(rl)]
    if whole in known:
        return known[whole]
    there = ", ".join(known)
    return Strategy(refused=f"no strategy of axolotl for rl: {rl}; there are {there}, and a mapping of fields")


def of_mapping(rl: str, given: Mapping[str, Any]) -> Strategy:
    """Return the strategy of user-defined fields and formats."""
    if rl == "orpo":
        return Strategy(refused="axolotl has no user-defined type for rl: orpo")
    sides = ("completion",) if rl == "kto" else ("chosen", "rejected")
    formats = {side: given[f"{side}_format"] or f"{{{side}}}" for side in sides}
    framed = {text.replace(f"{{{side}}}", "{completion}") for side, text in formats.items()}
    if len(framed) > 1:
        return Strategy(refused="chosen_format and rejected_format differ: write the texts into the rows")
    settings = {"prompt": given["field_prompt"], **{side: given[f"field_{side}"] for side in sides}}
    if rl == "kto":
        settings["label"] = given["field_label"]
    prompt = (given["prompt_format"] or "{prompt}").replace("{system}", f"{{{given['field_system']}?}}")
    settings |= {"prompt_template": prompt, "completion_template": framed.pop(), "control_tokens": True}
    plain = {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected", "completion": "completion"}
    plain |= {"label": "label", "prompt_template": "{prompt}", "completion_template": "{completion}"}
    kept = {name: value for name, value in settings.items() if plain.get(name) != value}
    return Strategy("UnpairedFormat" if rl == "kto" else "RowFormat", kept)
