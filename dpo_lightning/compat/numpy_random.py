"""numpy's global random numbers."""

from __future__ import annotations

import ctypes
import struct
from functools import cache
from typing import Any

import numpy as np

# `mt19937_state` of numpy's C sources: 624 numbers of 32 bits, and an int.
_BYTES = 625 * 4
_WORD = 8
_RANDOM: Any = np.random  # whose types do not have all that it has
_OWNER: Any = getattr(np.random.get_state, "__self__", None)

_read: list[tuple[bytes, Any]] = [(b"", None)]


def global_state() -> Any:
    """Return `numpy.random.get_state()`, the tuple of the last call where nothing was drawn since: do not write to it.

    numpy makes it number by number, in 40 us or more, and most steps draw none. Reads `mt19937_state` in memory, at the
    address that `BitGenerator.ctypes` gives, and in `RandomState` whether a normal number of a pair is left, and which.
    numpy documents neither layout: where the second is not found, the state is made in each call.
    """
    generator = _RANDOM.get_bit_generator()
    place = _place_of_gauss()
    if type(generator) is not np.random.MT19937 or place is None or _OWNER is None:
        return np.random.get_state(legacy=True)
    numbers = ctypes.string_at(generator.ctypes.state_address, _BYTES)
    there = numbers + ctypes.string_at(id(_OWNER) + place, 2 * _WORD)
    if there != _read[0][0]:
        _read[0] = there, np.random.get_state(legacy=True)
    return _read[0][1]


@cache
def _place_of_gauss() -> int | None:
    """Return where in a `RandomState` it stands whether a normal number is left, with that behind it; None if nowhere.

    Found by a state that has a number which nothing else is.
    """
    number = 0.12345678901234
    state: Any = np.random.RandomState(0)
    seen = []
    for is_left in (0, 1):
        state.set_state((*state.get_state()[:3], is_left, number))
        seen.append(ctypes.string_at(id(state), type(state).__basicsize__))
    places = {memory.find(struct.pack("d", number)) - _WORD for memory in seen}
    (place, *others) = places
    if others or place < 0:
        return None
    flags = [int.from_bytes(memory[place : place + 4], "little") for memory in seen]
    return place if flags == [0, 1] else None
