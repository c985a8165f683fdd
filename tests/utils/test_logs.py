"""A level for a while."""

from __future__ import annotations

import io
import logging
from contextlib import suppress

import pytest

from dpo_lightning.utils.logs import handlers_follow, log_level

LOGGER = logging.getLogger("tests.utils.test_logs")


def test_the_level_is_another_inside_and_as_before_outside(caplog: pytest.LogCaptureFixture) -> None:
    LOGGER.setLevel(logging.INFO)
    with log_level(LOGGER.name, logging.ERROR):
        LOGGER.warning("inside")
    LOGGER.info("outside")

    assert caplog.messages == ["outside"]


def test_an_exception_gives_it_back() -> None:
    LOGGER.setLevel(logging.INFO)
    with pytest.raises(ValueError, match="a fault"), log_level(LOGGER.name, logging.ERROR):
        raise ValueError("a fault")

    assert LOGGER.level == logging.INFO


def test_a_handler_writes_to_what_stands_for_its_stream_and_later_to_the_stream() -> None:
    stream, stands_for_it, other = io.StringIO(), io.StringIO(), io.StringIO()
    handlers = [logging.StreamHandler(stream), logging.StreamHandler(other)]
    for handler in handlers:
        LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    with suppress(ValueError), handlers_follow({stream: stands_for_it}):
        LOGGER.info("inside")
        raise ValueError("a fault")
    LOGGER.info("outside")
    for handler in handlers:
        LOGGER.removeHandler(handler)

    assert stands_for_it.getvalue() == "inside\n"
    assert stream.getvalue() == "outside\n"
    assert other.getvalue() == "inside\noutside\n"
