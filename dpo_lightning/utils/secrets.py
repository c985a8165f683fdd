"""Tokens and passwords, which nothing that is saved, logged or printed may hold."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

MASK = "***"

# `eos_token` and `batch_tokens` are none.
_TOKENS = (
    r"(?:(?:use_)?auth|access|hf|hub|huggingface|api|session|bearer|refresh|security|sas|secret|id|oauth|x|csrf|jwt"
    r"|wandb|neptune|comet|tracking|github|gitlab|bitbucket|pypi|slack|registry|login|personal|private|deploy|read|write"
    r"|service|account|client|admin)"
)
_KEYS = r"(?:api|access|secret|account|private|ssh|encryption|signing|license|hmac|openai|anthropic)"
_NAME = re.compile(
    rf"(?:^|_)(?:passw(?:or)?ds?|passphrases?|secrets?|credentials?|connection_string|authorization|cookie"
    rf"|{_KEYS}_?keys?(?:_id)?|{_TOKENS}_?token)$|_pwd$|(?:^|_)(?:basic|http|proxy)_auth$|^(?:auth|token|bearer|jwt)$"
)
_IN_STORAGE = re.compile(r"^(?:key|user(?:name)?|sas)$")  # what s3fs, sftp and the like call theirs
_STORAGE = "storage_options"
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

_LONGEST_SHORT = 7  # characters; a shorter value of the environment is no secret, and stands in many words
_QUERY = r"[\w.\-]*(?:token|password|passwd|secret|key|credentials?|signature|sig)"
_QUOTED = r"'[^']*'|\"[^\"]*\""
_PATTERNS = (
    (re.compile(r"(?<=://)(?!git@)[^/\s'\"]*(?=@)"), MASK),
    (re.compile(r"(?<=\w:/)[^/\s'\"@:]*:[^/\s'\"@]*(?=@)"), MASK),  # a URL that became a path
    (re.compile(r"(?i)(\bauthorization['\"]?\s*[:=]\s*['\"]?(?:basic|token)\s+)[\w.~+/=\-]+"), rf"\1{MASK}"),
    (re.compile(rf"(?<=[?&])({_QUERY}=)[^&\s'\"]+", re.IGNORECASE), rf"\1{MASK}"),
    (re.compile(r"\b(Bearer\s+)[\w.~+/=\-]{8,}"), rf"\1{MASK}"),
    (re.compile(r"\b(?:hf_\w{16,}|sk-[\w\-]{16,}|gh[pousr]_\w{20,}|github_pat_\w{20,}|AKIA[0-9A-Z]{16})"), MASK),
    (re.compile(r"\bglpat-[\w\-]{16,}"), MASK),
)
_PAIRS = (
    re.compile(rf"(?P<before>['\"](?P<name>[\w\-]+)['\"]\s*[:=]\s*)(?:{_QUOTED}|\[[^\]]*\])"),
    re.compile(rf"(?P<before>[{{,]\s*(?P<name>[A-Za-z][\w\-]*):\s+)(?:{_QUOTED}|[^\s'\",)}}&]+)"),  # YAML's
    re.compile(rf"(?P<before>(?:[\w\-]+\.|\b)(?P<name>[A-Za-z][\w\-]*)=)(?!\s)(?:{_QUOTED}|[^\s'\",)}}&]+)"),
)


def is_secret(name: object, inside: object = None) -> bool:
    """Return whether a setting of this name is a secret; `inside` is the name of the settings that hold it."""
    folded = _CAMEL.sub("_", str(name)).lower().replace("-", "_")
    return bool(_NAME.search(folded)) or (inside == _STORAGE and bool(_IN_STORAGE.search(folded)))


def masked(value: Any, name: object = None) -> Any:
    """Return a setting with `***` in place of each secret in it; `name` is what it is called."""
    if isinstance(value, Mapping):
        return {
            key: MASK if is_secret(key, name) and _says_something(item) else masked(item, _inside(key, name))
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [masked(item, name) for item in value]
    return masked_text(value) if type(value) is str else value


def without_secrets(value: Any, name: object = None) -> Any:
    """Return a setting without the secrets in it, and without what stands for one."""
    if isinstance(value, Mapping):
        kept = {
            key: item
            for key, item in value.items()
            if item != MASK and not (is_secret(key, name) and _says_something(item))
        }
        return {key: without_secrets(item, _inside(key, name)) for key, item in kept.items()}
    if isinstance(value, list | tuple):
        return [without_secrets(item, name) for item in value]
    return masked_text(value) if type(value) is str else value


def without_masks(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings of a saved config without those that are masked: the environment may hold them."""
    return {key: value for key, value in settings.items() if value != MASK}


def masked_places(settings: Any, place: str = "") -> Iterator[str]:
    """Yield the place of each secret that a saved config does not hold: its keys, joined by dots."""
    if isinstance(settings, Mapping):
        for key, value in settings.items():
            yield from masked_places(value, f"{place}.{key}" if place else str(key))
    elif isinstance(settings, list | tuple):
        for number, value in enumerate(settings):
            yield from masked_places(value, f"{place}.{number}")
    elif isinstance(settings, str) and (settings == MASK or f"://{MASK}@" in settings or f"={MASK}" in settings):
        yield place


def masked_text(text: str) -> str:
    """Return a text with `***` in place of what looks like a secret, or is one of the environment's."""
    for pattern, mask in _PATTERNS:
        text = pattern.sub(mask, text)
    for pattern in _PAIRS:
        text = pattern.sub(lambda found: f"{found['before']}{MASK}" if is_secret(found["name"]) else found[0], text)
    for name, value in os.environ.items():
        if len(value) > _LONGEST_SHORT and value in text and is_secret(name):
            text = text.replace(value, MASK)
    return text


def _says_something(value: Any) -> bool:
    """Tell a secret from `token: true`, which takes the saved login."""
    return value is not None and not isinstance(value, bool) and value != ""


def _inside(key: object, name: object) -> object:
    return _STORAGE if _STORAGE in (key, name) else key
