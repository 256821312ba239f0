"""Arrow columns as NumPy arrays: numbers, moments, and words as codes. Null becomes what the caller names."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recray.schema import Ints, Longs


def seconds(column: pa.ChunkedArray, absent: int) -> Longs:
    """Seconds since 1970 [n] int64 of dates or of moments in milliseconds, rounded down; `absent` for null."""
    at_ms = column.cast(pa.timestamp("ms")) if pa.types.is_date(column.type) else column
    return np.where(column.is_valid().to_numpy(), pc.fill_null(at_ms.cast(pa.int64()), 0).to_numpy() // 1_000, absent)


def look_up(column: pa.ChunkedArray, number_of: Mapping[str, int]) -> Longs:
    """Number of each word [n], -1 where it has none; each distinct word is looked up once."""
    words = column.combine_chunks().dictionary_encode()
    table = np.array([number_of.get(name, -1) for name in words.dictionary.to_pylist()] + [-1], np.int64)
    return table[pc.fill_null(words.indices, len(table) - 1).to_numpy(zero_copy_only=False)]


def codes(column: pa.ChunkedArray) -> tuple[tuple[str, ...], Ints]:
    """Distinct words in alphabetical order, and each row's place in them (-1 for null)."""
    names = tuple(sorted(pc.unique(column.drop_null()).to_pylist()))
    return names, look_up(column, {name: code for code, name in enumerate(names)}).astype(np.int32)
