"""Plain loops compiled to machine code (numba), for what NumPy would need a dozen passes for."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit

from recray.schema import Floats

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """The function as machine code: compiled at its first call, kept on disk, and run without the interpreter's lock.

    No sum is reordered, so a result depends on its inputs and the kind of processor alone.
    """
    return cast(F, njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})(function))


def compiled_sum(function: F) -> F:
    """As `compiled`, for a function of one sum, which may be taken in any order (always the same one for the same length)."""
    return cast(F, njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})(function))


def held(array: Any, dtype: Any) -> Any:
    """The array as compiled functions expect it: of that type, in C order, writable; a copy only where it is not so yet.

    They are compiled anew for every other layout, which takes seconds in the middle of a request.
    """
    if type(array) is np.ndarray and array.dtype == dtype and array.flags.carray:
        return array  # as `require` would, in a fifth of its time
    return np.require(array, dtype, ("C", "W"))


@compiled_sum
def inner_product(left: Floats, right: Floats) -> Any:
    """Inner product of two vectors of the same length."""
    total = np.float32(0)
    for at in range(len(left)):
        total += left[at] * right[at]
    return total


def halves(values: Floats) -> Any:
    """Float32 as bfloat16 in uint16, rounded to the nearest, ties to even: half of the memory that a table is read from."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + np.uint32(0x7FFF) + (bits >> 16 & np.uint32(1))) >> 16).astype(np.uint16)


@compiled
def wide(half: Any) -> Any:
    """The float32 that one of `halves` stands for."""
    return np.uint32(np.uint32(half) << np.uint32(16)).view(np.float32)
