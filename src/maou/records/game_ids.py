"""Game keys: numbers that are equal for rows of one game.

An id is `<game id><separator><ply>`: text that ends in the ply. The key is the 64-bit
FNV-1a hash of the id's UTF-8 bytes without the final digits and the one separator
before them, so that it is the same in every container.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from maou.shogi.compiled import kernel

_FNV_OFFSET = np.uint64(0xCBF29CE484222325)
_FNV_PRIME = np.uint64(0x100000001B3)


@kernel
def _hash_range(data: npt.NDArray[np.uint8], start: int, stop: int) -> np.uint64:
    end = stop
    while end > start and 48 <= data[end - 1] <= 57:
        end -= 1
    if start < end < stop:  # a ply was cut off: drop its separator too
        end -= 1
    if end <= start:  # nothing but digits: the whole text is the game
        end = stop
    value = _FNV_OFFSET
    for i in range(start, end):
        value = (value ^ np.uint64(data[i])) * _FNV_PRIME
    return value


@kernel
def _hash_ragged(
    data: npt.NDArray[np.uint8],
    offsets: npt.NDArray[np.int64],
    keys: npt.NDArray[np.uint64],
) -> None:
    for i in range(len(keys)):
        keys[i] = _hash_range(data, offsets[i], offsets[i + 1])


@kernel
def _hash_fixed(
    data: npt.NDArray[np.uint8],
    keys: npt.NDArray[np.uint64],
) -> None:
    for i in range(len(keys)):
        row = data[i]
        stop = len(row)
        while stop > 0 and row[stop - 1] == 0:
            stop -= 1
        keys[i] = _hash_range(row, 0, stop)


def keys_of_fixed_text(ids: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """Hash the games of ids in a numpy array of bytes (`S`) or text (`U`)."""
    if ids.dtype.kind == "U":
        ids = np.char.encode(ids, "utf-8")
    width = max(1, ids.dtype.itemsize)
    data = np.ascontiguousarray(ids).view(np.uint8).reshape(len(ids), width)
    keys = np.empty(len(ids), dtype=np.uint64)
    _hash_fixed(data, keys)
    return keys


def keys_of_arrow_text(ids: Any) -> npt.NDArray[np.uint64]:
    """Hash the games of ids in an Arrow string array without nulls."""
    width = np.int64 if pa.types.is_large_string(ids.type) else np.int32
    count = ids.offset + len(ids) + 1
    bounds = np.frombuffer(ids.buffers()[1], dtype=width, count=count)
    offsets = bounds[ids.offset :].astype(np.int64)
    data = np.frombuffer(ids.buffers()[2] or b"\0", dtype=np.uint8)
    keys = np.empty(len(ids), dtype=np.uint64)
    _hash_ragged(data, offsets, keys)
    return keys
