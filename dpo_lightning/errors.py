"""Errors that mean something to the user. The command prints them as one line, without a traceback, and exits 1."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager

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
SECRET_HOLDER = "storage_options"
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
    # `token=it)` is what a message says to write.
    re.compile(rf"(?P<before>(?:[\w\-]+\.|\b)(?P<name>[A-Za-z][\w\-]*)=)(?!\s|it\))(?:{_QUOTED}|[^\s'\",)}}&]+)"),
)

# Control characters, marks that turn the direction of a text or have no width, surrogates, line separators.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})


def is_secret(name: object, inside: object = None) -> bool:
    """Return whether a setting of this name is a secret; `inside` is the name of the settings that hold it."""
    folded = _CAMEL.sub("_", str(name)).lower().replace("-", "_")
    return bool(_NAME.search(folded)) or (inside == SECRET_HOLDER and bool(_IN_STORAGE.search(folded)))


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


def visible(text: object) -> str:
    """Return a text of somebody else's with what cannot be seen spelled out as an escape, for a terminal or a file.

    New lines and tabs stay. Without this, a row of data moves the cursor, hides words or turns their direction.
    """
    return "".join(_seen(each) for each in str(text))


def _seen(character: str) -> str:
    if character in "\n\t" or unicodedata.category(character) not in _UNSEEN:
        return character
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


class DPOLightningError(Exception):
    """Base class of `InputError` and `RunError`; secrets in it are masked, and what cannot be seen is spelled out."""

    def __str__(self) -> str:
        """Return the message, fit for a terminal."""
        return visible(masked_text(super().__str__()))


class InputError(DPOLightningError, ValueError):
    """Wrong input: a file, a row, a field, an option. The message names the place and what to do."""

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook shows: the line alone, since the traceback is that of a check of ours."""
        return [f"{type(self).__name__}: {self}"]


@contextmanager
def prefixed(prefix: str) -> Iterator[None]:
    """Put a prefix, such as `rows.jsonl: `, before what is said inside the block.

    Raises:
        InputError: in the place of another one.
    """
    try:
        yield
    except InputError as error:
        raise InputError(f"{prefix}{error}") from None


class RunError(DPOLightningError, RuntimeError):
    """A run that must not go on. The message names the step, the pairs and the likely causes."""


class NotBuiltError(RunError, AttributeError):
    """A part of the model that is not there yet: absent, to `hasattr` and to tools that look through a module."""
