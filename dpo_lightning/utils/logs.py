"""Log levels of other libraries, and where their handlers write."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any


@contextmanager
def log_level(name: str, level: int) -> Iterator[None]:
    """Give the logger `name` another level inside the block."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextmanager
def handlers_follow(streams: Mapping[Any, Any]) -> Iterator[None]:
    """Let handlers of all loggers write to what stands for a stream inside the block: they hold the stream itself.

    Args:
        streams: What stands for each stream, by stream.
    """
    loggers = [logging.getLogger(), *logging.root.manager.loggerDict.values()]
    handlers = {each for logger in loggers for each in getattr(logger, "handlers", ())}
    moved = [(each, each.stream) for each in handlers if isinstance(each, logging.StreamHandler)]
    moved = [(handler, stream) for handler, stream in moved if streams.get(stream, stream) is not stream]
    for handler, stream in moved:
        handler.setStream(streams[stream])
    try:
        yield
    finally:
        for handler, stream in moved:
            handler.setStream(stream)
