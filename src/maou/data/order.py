"""The order of an epoch, as a pure function of (seed, epoch).

Nothing here depends on batch size, worker processes or where a run was interrupted: a
row's place in the epoch is fixed before the first one is read.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maou.records.keys import key_of, permutation

_BLOCKS, _WITHIN, _MAP, _MIRROR = 1, 2, 3, 4


@dataclass(frozen=True)
class Window:
    """Blocks that are read and shuffled together.

    Attributes:
        first: place of the window's first row in the epoch.
        blocks: block numbers in the order in which they are read, int64 [blocks].
        count: number of rows.
    """

    first: int
    blocks: npt.NDArray[np.int64]
    count: int


def windows(
    counts: npt.NDArray[np.int64], window_rows: int, seed: int, epoch: int
) -> Iterator[Window]:
    """Yield an epoch's windows: blocks in shuffled order, in groups of bounded size.

    A window takes blocks until it holds `window_rows` rows; so it may exceed that
    number by less than one block.

    Args:
        counts: rows of each block, int64 [blocks].
        window_rows: how many rows to shuffle together.
        seed: seed of the run.
        epoch: number of the epoch, from 0.
    """
    order = permutation(len(counts), key_of(_BLOCKS, seed, epoch))
    ends = np.cumsum(counts[order])
    begin = first = 0
    while begin < len(order):
        end = int(np.searchsorted(ends, first + window_rows, side="left")) + 1
        end = min(end, len(order))
        last = int(ends[end - 1])
        yield Window(first, order[begin:end], last - first)
        begin, first = end, last


def order_within(window: Window, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """Return the order of a window's rows, a permutation int64 [count]."""
    return permutation(window.count, key_of(_WITHIN, seed, epoch, window.first))


def place_of(window: Window, epoch: int, *, validation: bool) -> int:
    """Number a window among all of both sides and of many epochs."""
    number = (epoch % (1 << 17) << 44) + window.first
    return 2 * number + validation + 1


def map_order(count: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """Return the order of a map-style epoch: a permutation, int64 [count]."""
    return permutation(count, key_of(_MAP, seed, epoch))


def mirror_key(seed: int, epoch: int) -> int:
    """Return the key that decides which rows of an epoch are mirrored."""
    return key_of(_MIRROR, seed, epoch)


def batch_count(rows: int, batch_size: int) -> int:
    """Return how many batches hold all rows; the last one may be smaller."""
    return -(-rows // batch_size)
