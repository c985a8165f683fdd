"""Numbers, objectives and code to load a model, as terminal, page and model card all write them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dpo_lightning.report.progress_line import short

_MODEL = """\
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained({path})
tokenizer = AutoTokenizer.from_pretrained({path})"""
_ADAPTER = """\
from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer

model = AutoPeftModelForCausalLM.from_pretrained({path})  # the base model with the adapter
tokenizer = AutoTokenizer.from_pretrained({path})"""


def counted(number: float) -> str:
    """Return a number as people say it: `960`, `12,400`, `3.2 M`, `7.1 B`."""
    for size, name in ((1e12, "T"), (1e9, "B"), (1e6, "M")):
        if number >= size:
            return f"{number / size:.3g} {name}"
    return f"{round(number):,}"


def called(settled: Any) -> str:
    """Return a class with its settings as one writes it, such as `DPO(beta=0.1)`; empty for what is no such thing.

    Args:
        settled: `name` and `settings`, as the objective has them in `run.json`.
    """
    if not isinstance(settled, Mapping) or not settled.get("name"):
        return ""
    settings = settled.get("settings")
    known = settings if isinstance(settings, Mapping) else {}
    said = [
        f"{name}={short(value) if _is_number(value) else value}" for name, value in known.items() if value is not None
    ]
    return f"{settled['name']}({', '.join(said)})"


def loading_code(path: str, *, adapter: bool) -> str:
    """Return Python that loads an exported model.

    Args:
        path: Its directory, in which `portable` may have put a variable.
        adapter: Whether it holds an adapter, and not a model.
    """
    return with_path(_ADAPTER if adapter else _MODEL, path)


def with_path(code: str, path: str) -> str:
    """Return Python with a path, as a literal, in the place of `{path}`; `~` and `$USER` in it are made what they mean.

    Args:
        code: Lines with `{path}` where it goes.
        path: The path.
    """
    literal = repr(path)
    if "$USER" not in path and not path.startswith("~"):
        return code.format(path=literal)
    return f"import os\n\npath = os.path.expandvars(os.path.expanduser({literal}))\n{code.format(path='path')}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
