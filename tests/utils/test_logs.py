"""A level for a while."""

from __future__ import annotations

import logging

import pytest

from dpo_lightning.utils.logs import log_level

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
