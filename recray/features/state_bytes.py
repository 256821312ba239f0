"""A profile's state as bytes: numbers of as few bytes as they need, then titles and facts of recent events bit by bit.

Version 2. First the magic, the version, and how many events and watched and hidden titles there are; then times, counters, gaps
between title numbers and gaps between events. Each number is written in groups of seven bits, lowest first, the eighth bit set
where more follow (LEB128). Last, for each recent event, come its title number in as many bits as the largest needs, and its
twelve bits of action, device and value. One state has one encoding: readers refuse any other.
"""

from typing import Any, Final

import numpy as np

from recray.features.compiled import compiled
from recray.schema import Bytes, Longs, Words

MAGIC: Final = 0x5243
VERSION: Final = 2
_FACT_BITS: Final = 12
_MOST_GROUPS: Final = 10
_HEAD: Final = 3
"""Bytes before the first number: the magic's two and the version."""


@compiled
def _put(value: Any, out: Bytes, place: int) -> int:
    rest = np.uint64(value)
    while rest >= np.uint64(128):
        out[place] = np.uint8(rest & np.uint64(127)) | np.uint8(128)
        rest >>= np.uint64(7)
        place += 1
    out[place] = np.uint8(rest)
    return place + 1


@compiled
def _take(blob: Bytes, place: int) -> tuple[Any, int]:
    """The number at a place and the place after it; -1 where there is none, or one that is written longer than it need be."""
    value = np.uint64(0)
    for group in range(_MOST_GROUPS):
        if place < 0 or place + group >= len(blob):
            break
        byte = blob[place + group]
        value |= np.uint64(byte & np.uint8(127)) << np.uint64(7 * group)
        if byte < 128:
            return value, place + group + 1 if byte or not group else -1
    return np.uint64(0), -1


@compiled
def _put_bits(value: Any, n_bits: int, out: Bytes, bit: int) -> int:
    for shift in range(n_bits):
        if (value >> np.uint64(shift)) & np.uint64(1):
            out[(bit + shift) // 8] |= np.uint8(1 << (bit + shift) % 8)
    return bit + n_bits


@compiled
def _take_bits(blob: Bytes, bit: int, n_bits: int) -> Any:
    value = np.uint64(0)
    for shift in range(n_bits):
        at = bit + shift
        value |= np.uint64(blob[at // 8] >> np.uint8(at % 8) & np.uint8(1)) << np.uint64(shift)
    return value


@compiled
def write(heads: Longs, numbers: Words, recent: Words, out: Bytes) -> int:
    """Write a state into zeroed `out` and return how many bytes it takes.

    `heads` tell how many of what follow; `numbers` are all the others but recent events, whose packed words are `recent`.
    """
    place = _HEAD
    for head in heads:
        place = _put(head, out, place)
    for number in numbers:
        place = _put(number, out, place)
    for at in range(1, len(recent)):
        place = _put((recent[at] >> np.uint64(32)) - (recent[at - 1] >> np.uint64(32)), out, place)
    largest = np.uint64(0)
    for word in recent:
        largest = max(largest, (word >> np.uint64(_FACT_BITS)) & np.uint64(0xFFFFF))
    width = 0
    while largest >> np.uint64(width):
        width += 1
    place = _put(width, out, place)
    bit = 8 * place
    for word in recent:
        bit = _put_bits((word >> np.uint64(_FACT_BITS)) & np.uint64(0xFFFFF), width, out, bit)
        bit = _put_bits(word & np.uint64(0xFFF), _FACT_BITS, out, bit)
    return (bit + 7) // 8


@compiled
def read_numbers(blob: Bytes, place: int, numbers: Words) -> int:
    """Read as many numbers as there is room for; returns the place after them, or -1 where they end too soon."""
    for at in range(len(numbers)):
        numbers[at], place = _take(blob, place)
        if place < 0:
            return -1
    return place


@compiled
def read_recent(blob: Bytes, place: int, oldest: Any, recent: Words) -> bool:
    """Read recent events up to the very end; False where they are not exactly what `write` leaves there."""
    at = np.uint64(oldest)
    for event in range(len(recent)):
        if event:
            gap, place = _take(blob, place)
            if place < 0 or gap > np.uint64(0xFFFFFFFF) - at:
                return False
            at += gap
        recent[event] = at << np.uint64(32)
    width, place = _take(blob, place)
    n_title_bits = int(width)
    n_bits = len(recent) * (n_title_bits + _FACT_BITS)
    if place < 0 or width > np.uint64(20) or len(blob) - place != (n_bits + 7) // 8:
        return False
    bit, largest = 8 * place, np.uint64(0)
    for event in range(len(recent)):
        title = _take_bits(blob, bit, n_title_bits)
        facts = _take_bits(blob, bit + n_title_bits, _FACT_BITS)
        recent[event] |= title << np.uint64(_FACT_BITS) | facts
        largest = max(largest, title)
        bit += n_title_bits + _FACT_BITS
    for spare in range(bit, 8 * len(blob)):
        if blob[spare // 8] >> np.uint8(spare % 8) & np.uint8(1):
            return False
    return largest >> np.uint64(width) == np.uint64(0) and (width == np.uint64(0) or largest >> (width - np.uint64(1)) > 0)
