"""Chat templates that write today's date: rows that are read tomorrow would be others."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from lightning.pytorch.utilities import rank_zero_info

from dpo_lightning.errors import InputError
from dpo_lightning.utils.ranks import from_rank_zero

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

STATE = "chat_template_date"
"""Key of the date in a checkpoint's state of the data."""


def templates_of(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Return the chat templates of a tokenizer: none, one, or several that have names."""
    given = getattr(tokenizer, "chat_template", None)
    return list(given.values()) if isinstance(given, Mapping) else [] if given is None else [given]


def reads_clock(template: str) -> bool:
    """Return whether a chat template may ask for the time: `strftime_now` is its one way to do so."""
    return "strftime_now" in template


def writes_date(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether one of a tokenizer's chat templates may write the date."""
    return any(map(reads_clock, templates_of(tokenizer)))


def date_of(text: str) -> date:
    """Return the date that `data.chat_template_date` says.

    Raises:
        InputError: for what is none.
    """
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InputError(f"data.chat_template_date: {text!r:.40} is no date such as 2026-11-30") from None


class TemplateDate:
    """The date that a run's chat template writes: the config's, the checkpoint's, or that of the first read.

    Args:
        given: The config's date as `YYYY-MM-DD`; None for the others.

    Raises:
        InputError: for what is no date.
    """

    def __init__(self, given: str | None) -> None:
        self._given = None if given is None else date_of(given)
        self._kept: date | None = None

    def settle(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Decide on the date, before anything is read.

        Args:
            tokenizer: Where no template of its asks for the time, there is no date.

        Raises:
            InputError: for a date of the config that no template reads.
        """
        if writes_date(tokenizer):
            self._kept = self._kept or self._given or _today()
        elif self._given is not None:
            raise InputError("data.chat_template_date: the chat template writes no date: leave it out")

    def share(self) -> None:
        """Let every rank have the date of rank 0; every rank must call, and where there is none, none does a thing."""
        if self._kept is not None:
            self._kept = from_rank_zero(self._kept)

    @property
    def value(self) -> date | None:
        """The date; None where no template writes one."""
        return self._kept

    def state(self) -> dict[str, str]:
        """Return what a checkpoint keeps."""
        return {} if self._kept is None else {STATE: self._kept.isoformat()}

    def take(self, saved: Mapping[str, Any]) -> bool:
        """Take the date of the checkpoint that a run goes on from, unless the config has one; return whether it is new.

        Args:
            saved: The checkpoint's state of the data.
        """
        before = _saved_in(saved)
        if before is None or self._kept in (None, before) or self._given is not None:
            return False
        self._kept = before
        rank_zero_info(f"data.chat_template: the rows are read again, with {before}, the date of the checkpoint's run")
        return True

    def check(self, saved: Mapping[str, Any]) -> None:
        """Refuse to go on with rows of another date.

        Raises:
            InputError: naming both dates.
        """
        before = _saved_in(saved)
        if before is not None and self._kept not in (None, before):
            raise InputError(
                f"the checkpoint's rows have the date {before} in their chat template, and this run has {self._kept}: "
                f"set data.chat_template_date={before}, or leave the rest of the epoch out with data.resume=next_epoch"
            )


def _saved_in(saved: Mapping[str, Any]) -> date | None:
    return date_of(saved[STATE]) if STATE in saved else None


def _today() -> date:
    today = datetime.now().date()
    rank_zero_info(
        f"data.chat_template: it writes the date, which is {today} for all of this run and of what goes on from it "
        "(data.chat_template_date)"
    )
    return today
