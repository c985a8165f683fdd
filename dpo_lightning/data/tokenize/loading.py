"""Loading a tokenizer, and what makes two of them the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpo_lightning.compat.chat_templates import template_words
from dpo_lightning.compat.transformers import template_fault
from dpo_lightning.data.special_tokens import added_tokens, writes_tokens
from dpo_lightning.data.tokenize.template_defaults import with_defaults
from dpo_lightning.errors import InputError
from dpo_lightning.utils.hub import check_source
from dpo_lightning.utils.text import one_line

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_OF_FILES = {".jinja", ".jinja2", ".j2", ".json", ".txt"}
"""Endings of files with a template; names of models have other ones, as `Qwen2.5-7B` has."""


def load_tokenizer(
    source: Any,
    chat_template: str | None = None,
    template_arguments: Mapping[str, Any] | None = None,
    *,
    key: str = "data.tokenizer",
) -> PreTrainedTokenizerBase:
    """Load a tokenizer by name or directory, or take the one given.

    Args:
        source: Hub name; directory of a model, a tokenizer or an adapter (which may leave it to its base model); or a
            tokenizer.
        chat_template: What replaces the tokenizer's chat template: a file with a Jinja template, the name of one of
            its several, or a directory or hub name of a model that has one; None keeps it.
        template_arguments: Arguments of the chat template that become its defaults, so that an export has them too.
        key: What gave the source, as messages name it.

    Raises:
        InputError: when there is no such tokenizer or file.
    """
    tokenizer = _from_name(_tokenizer_of(str(source)), key) if isinstance(source, str | Path) else source
    if not hasattr(tokenizer, "eos_token_id"):
        raise InputError(f"data.tokenizer: give a name, a directory or a Hugging Face tokenizer, not {source!r}")
    if chat_template is None and not template_arguments:
        return tokenizer
    if chat_template is not None and writes_tokens(tokenizer):
        raise InputError(
            "data.chat_template: this tokenizer writes conversations without a Jinja template: leave it out"
        )
    template = tokenizer.chat_template if chat_template is None else chosen_template(tokenizer, chat_template)
    _check_read(template_arguments or {}, tokenizer, template)
    tokenizer = copy(tokenizer)  # the one that was given stays as it is
    tokenizer.chat_template = with_defaults(template, template_arguments or {})
    return tokenizer


def _check_read(
    arguments: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase, template: str | Mapping[str, str] | None
) -> None:
    """Refuse arguments that no chat template reads; of a tokenizer that has none and writes tokens nobody knows."""
    texts = list(template.values()) if isinstance(template, Mapping) else [template or ""]
    for fault in filter(None, map(template_fault, texts if arguments else ())):
        raise InputError(f"data.chat_template: the tokenizer's own: {fault}")
    for name in () if writes_tokens(tokenizer) else arguments:
        if not any(name in template_words(text).variables for text in texts):
            raise InputError(f"data.chat_template_kwargs.{name}: the chat template does not read it: leave it out")


def _tokenizer_of(name: str) -> str:
    adapter = Path(name) / "adapter_config.json"
    if not adapter.is_file() or any(Path(name).glob("tokenizer*")):
        return name
    return json.loads(adapter.read_text(encoding="utf-8")).get("base_model_name_or_path") or name


def _from_name(name: str, key: str) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    check_source(key, name)
    try:
        # Where nothing is said about remote code, transformers asks at the terminal.
        return AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except Exception as error:  # bare ones among them, from the tokenizers library
        reason = one_line(error)
        if "trust_remote_code" in str(error):
            reason = "it brings code, which is not run: if you trust it, load it yourself and give the tokenizer"
        raise InputError(f"tokenizer {name!r} cannot be loaded (`data.tokenizer` names another): {reason}") from error


def chosen_template(tokenizer: PreTrainedTokenizerBase, given: str) -> str:
    """Return the chat template that `data.chat_template` names.

    Raises:
        InputError: for what is none of a file, a template of the tokenizer, and a model that has one; for a name that
            is two of these; for the text of a template; and for one that cannot be filled in.
    """
    if "{%" in given or "{{" in given or "\n" in given:
        raise InputError(
            "data.chat_template: this is the text of a template: write it to a file, and give the file's path"
        )
    path, own = Path(given), tokenizer.chat_template if isinstance(tokenizer.chat_template, Mapping) else {}
    if given in own and path.exists():
        raise InputError(
            f"data.chat_template: {given} is a template of the tokenizer and a file: write ./{given} for it"
        )
    if given in own:
        return own[given]
    if not _names_model(path, given):
        return _read_template(given, own)
    template = getattr(_from_name(given, "data.chat_template"), "chat_template", None)
    template = template.get("default") if isinstance(template, Mapping) else template
    if template is None:
        raise InputError(f"data.chat_template: {one_line(given, 200)}: its tokenizer has no chat template")
    return template


def _names_model(path: Path, given: str) -> bool:
    """Return whether a name is that of a directory, or of a model on the hub."""
    on_hub = given.count("/") == 1 and path.suffix not in _OF_FILES and given[0] not in "./~"
    return path.is_dir() or (on_hub and not path.exists())


def _read_template(path: str, own: Mapping[str, str]) -> str:
    try:
        template = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        names = f"; the tokenizer's own are {', '.join(own)}" if own else ""
        raise InputError(f"data.chat_template: {one_line(path, 200)}: {one_line(error)}{names}") from None
    if path.endswith(".json"):
        template = _of_json(template, path)
    if not template.strip():
        raise InputError(f"data.chat_template: {path}: the file is empty: give one with a template, or null")
    if fault := template_fault(template):  # rows of plain text would never read it
        raise InputError(f"data.chat_template: {path}: {fault}")
    return template


def _of_json(text: str, path: str) -> str:
    """Return the template in a processor's `chat_template.json`, or in a `tokenizer_config.json`."""
    try:
        return str(json.loads(text)["chat_template"])
    except (ValueError, LookupError, TypeError):
        raise InputError(f"data.chat_template: {path}: it is JSON without a text `chat_template`") from None


def tokenizer_identity(tokenizer: PreTrainedTokenizerBase) -> tuple[Any, ...]:
    """All that decides on a tokenizer's output, in plain types: equal identities give equal tokens."""
    special = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
    added = sorted((token, repr(entry)) for token, entry in added_tokens(tokenizer).items())
    splits_special = getattr(tokenizer, "split_special_tokens", False)
    template = _own_writing(tokenizer) if writes_tokens(tokenizer) else tokenizer.chat_template
    return type(tokenizer).__name__, _rules(tokenizer), special, added, splits_special, template


def _own_writing(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return a conversation as a tokenizer without a template writes it: what there is to tell two of them apart."""
    messages = [{"role": role, "content": "a"} for role in ("system", "user", "assistant", "user")]
    return tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)


def _rules(tokenizer: PreTrainedTokenizerBase) -> Any:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return sorted(tokenizer.get_vocab().items()), repr(tokenizer.init_kwargs)
    rules = json.loads(backend.to_str())
    # A call sets these two, and each of ours sets them anew.
    return json.dumps({key: value for key, value in rules.items() if key not in ("truncation", "padding")})
