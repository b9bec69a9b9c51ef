"""How batch kernels are compiled.

One place for numba's options: machine code is cached beside the source (or in the
user's cache folder where that is read-only), and kernels release the interpreter
lock, so that threads can share a batch.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, cast

import numba
import numpy as np

F = TypeVar("F", bound=Callable[..., object])


def kernel(function: F) -> F:
    """Compile a function over numpy arrays on its first call."""
    return cast("F", numba.njit(cache=True, nogil=True, boundscheck=False)(function))


def inlined(function: F) -> F:
    """Compile a small function into its callers."""
    return cast("F", numba.njit(cache=True, inline="always")(function))


@inlined
def signed(value: Any) -> int:
    """Make a signed 64-bit integer: numba turns uint64 with int64 into a float."""
    return np.int64(value)  # type: ignore[return-value]


def over_rows(work: Callable[[int, int], None], rows: int, threads: int) -> None:
    """Call `work(start, stop)` so that the calls cover `range(rows)` once.

    With one thread this is one call; otherwise the rows are divided evenly.
    """
    if threads <= 1 or rows < 2 * threads:
        work(0, rows)
        return
    cuts = [rows * i // threads for i in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, cuts[:-1], cuts[1:]))
