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
    return np.require(array, dtype, ("C", "W"))


@compiled_sum
def inner_product(left: Floats, right: Floats) -> Any:
    """Inner product of two vectors of the same length."""
    total = np.float32(0)
    for at in range(len(left)):
        total += left[at] * right[at]
    return total
