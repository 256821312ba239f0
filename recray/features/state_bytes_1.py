"""States as version 1 wrote them, for stores that still hold some: each is written anew, as version 2, when it next changes."""

from typing import Final

import numpy as np

from recray.errors import DataError
from recray.schema import Ints, Longs, Words

_LONG_GAP: Final = 0xFFFF
_HEADER: Final = np.dtype(
    [
        ("magic", "<u2"),
        ("version", "u1"),
        ("n_recent", "u1"),
        ("n_gaps", "<u2"),
        ("n_watched", "<u4"),
        ("n_hidden", "<u2"),
        ("first_at", "<u4"),
        ("oldest_at", "<u4"),
    ]
)
Columns = tuple[Words, Longs, Ints, Ints, int]


def read(blob: bytes, n_counters: int) -> Columns:
    """Recent words, counters, watched and hidden titles, and the first moment.

    Raises:
        DataError: the bytes are truncated, or mark gaps otherwise than version 1 did.
    """
    if len(blob) < _HEADER.itemsize:
        raise DataError(f"profile state has {len(blob)} bytes; expected at least {_HEADER.itemsize}: fold it anew from the log")
    head = np.frombuffer(blob, _HEADER, 1)[0]
    n, n_gaps = int(head["n_recent"]), int(head["n_gaps"])
    sizes = (n_counters, n, n, n_gaps, int(head["n_watched"]), int(head["n_hidden"]))
    layout = tuple(zip(("<u4", "<u2", "<u4", "<u4", "<u4", "<u4"), sizes, strict=True))
    expected = _HEADER.itemsize + sum(np.dtype(kind).itemsize * size for kind, size in layout)
    if len(blob) != expected:
        raise DataError(f"profile state has {len(blob)} bytes; expected {expected}: fold it anew from the log")
    columns, offset = [], _HEADER.itemsize
    for kind, size in layout:
        columns.append(np.frombuffer(blob, kind, size, offset))
        offset += np.dtype(kind).itemsize * size
    counters, short, low, long, watched, hidden = columns
    gaps = short.astype(np.int64)
    if np.count_nonzero(short == _LONG_GAP) != n_gaps:
        raise DataError(f"profile state marks other long gaps than its {n_gaps}: fold it anew from the log")
    gaps[short == _LONG_GAP] = long
    at = np.cumsum(gaps) + int(head["oldest_at"])
    recent = (at.astype(np.uint64) << np.uint64(32)) | low
    return recent, counters.astype(np.int64), watched.astype(np.int32), hidden.astype(np.int32), int(head["first_at"])
