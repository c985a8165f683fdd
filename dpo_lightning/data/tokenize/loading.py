"""Loading a tokenizer, and what makes two of them the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpo_lightning.compat.transformers import template_fault
from dpo_lightning.errors import InputError
from dpo_lightning.utils.hub import check_source
from dpo_lightning.utils.text import one_line

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def load_tokenizer(
    source: Any, chat_template: str | None = None, *, key: str = "data.tokenizer"
) -> PreTrainedTokenizerBase:
    """Load a tokenizer by name or directory, or take the one given.

    Args:
        source: Hub name; directory of a model, a tokenizer or an adapter (which may leave it to its base model); or a
            tokenizer.
        chat_template: File with a Jinja chat template that replaces the tokenizer's; None keeps it.
        key: What gave the source, as messages name it.

    Raises:
        InputError: when there is no such tokenizer or file.
    """
    tokenizer = _from_name(_tokenizer_of(str(source)), key) if isinstance(source, str | Path) else source
    if not hasattr(tokenizer, "eos_token_id"):
        raise InputError(f"data.tokenizer: give a name, a directory or a Hugging Face tokenizer, not {source!r}")
    if chat_template is not None:
        tokenizer.chat_template = _read_template(chat_template)
    return tokenizer


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


def _read_template(path: str) -> str:
    try:
        template = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"data.chat_template: {one_line(path, 200)}: {one_line(error)}") from None
    if not template.strip():
        raise InputError(f"data.chat_template: {path}: the file is empty: give one with a template, or null")
    if fault := template_fault(template):  # rows of plain text would never read it
        raise InputError(f"data.chat_template: {path}: {fault}")
    return template


def tokenizer_identity(tokenizer: PreTrainedTokenizerBase) -> tuple[Any, ...]:
    """All that decides on a tokenizer's output, in plain types: equal identities give equal tokens."""
    special = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
    added = sorted((token, repr(entry)) for token, entry in tokenizer.added_tokens_decoder.items())
    splits_special = getattr(tokenizer, "split_special_tokens", False)
    return type(tokenizer).__name__, _rules(tokenizer), special, added, splits_special, tokenizer.chat_template


def _rules(tokenizer: PreTrainedTokenizerBase) -> Any:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return sorted(tokenizer.get_vocab().items()), repr(tokenizer.init_kwargs)
    rules = json.loads(backend.to_str())
    # A call sets these two, and each of ours sets them anew.
    return json.dumps({key: value for key, value in rules.items() if key not in ("truncation", "padding")})
