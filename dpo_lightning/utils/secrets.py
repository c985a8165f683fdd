"""Tokens and passwords, which nothing that is saved, logged or printed may hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dpo_lightning.errors import MASK, SECRET_HOLDER, is_secret, masked_text

__all__ = [
    "MASK",
    "is_secret",
    "masked",
    "masked_command",
    "masked_places",
    "masked_text",
    "without_masks",
    "without_secrets",
]


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


def masked_command(words: Sequence[str]) -> list[str]:
    """Return the words of a command with `***` in place of each secret, also of one that is a word of its own."""
    found, is_next = [], False
    for word in words:
        name, equals, _ = word.partition("=")
        is_option = name.startswith("--")
        hides = is_option and _is_secret_place(name.removeprefix("--"))
        if is_next and not is_option:
            found.append(MASK)
        else:
            found.append(f"{name}={MASK}" if hides and equals else masked_text(word))
        is_next = hides and not equals
    return found


def _is_secret_place(place: str) -> bool:
    *sections, name = place.split(".")
    return is_secret(name, SECRET_HOLDER if SECRET_HOLDER in sections else None)


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


def _says_something(value: Any) -> bool:
    """Tell a secret from `token: true`, which takes the saved login."""
    return value is not None and not isinstance(value, bool) and value != ""


def _inside(key: object, name: object) -> object:
    return SECRET_HOLDER if SECRET_HOLDER in (key, name) else key
