"""Structured `.npy` files of hcpe records, raw or rich.

The header is checked before anything else is read: magic, version, a structured dtype
with the four raw fields, one dimension, and a size that matches the file's. Pickled
(object) arrays are never loaded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from maou.errors import DataError
from maou.records.game_ids import keys_of_fixed_text
from maou.records.hcpe import HCPE, RAW_FIELDS
from maou.records.npy_header import read_header
from maou.records.shards import (
    Extents,
    GameKeys,
    Rows,
    Shard,
    empty_rows,
    file_size,
    read_bytes,
    require_rows,
)
from maou.text import shortened


class NpyShard(Shard):
    """A structured array in numpy's own file format."""

    def __init__(self, path: Path) -> None:
        """Check the header.

        Raises:
            DataError: no such file, or not a one-dimensional structured array of
                hcpe records that fills the file exactly.
        """
        size = file_size(path)
        shape, dtype, self._offset = read_header(path)
        self.path = path
        self._dtype = dtype
        _require_hcpe(path, dtype)
        if len(shape) != 1:
            raise DataError(
                f"{path}: the array has shape {shape}; records need one dimension"
            )
        self.rows = shape[0]
        self.has_ids = "id" in (dtype.names or ())
        require_rows(path, self.rows)
        expected = self._offset + self.rows * dtype.itemsize
        if size != expected:
            held = max(0, size - self._offset) // dtype.itemsize
            raise DataError(
                f"{path}: the header promises {self.rows} records ({expected} bytes) "
                f"but the file has {size} bytes, room for {held}; it is truncated or "
                "was written over"
            )
        if self.has_ids and (dtype["id"].kind not in "SU" or not dtype["id"].itemsize):
            raise DataError(
                f"{path}: field 'id' is {dtype['id']}; a game id is text (S or U)"
            )

    def _records(self, start: int, stop: int) -> "np.ndarray[Any, np.dtype[np.void]]":
        step = self._dtype.itemsize
        data = read_bytes(self.path, self._offset + start * step, (stop - start) * step)
        return data.view(self._dtype)

    def read(self, start: int, stop: int) -> Rows:
        """Read records [start, stop)."""
        records = self._records(start, stop)
        if self._dtype == HCPE:
            return records.view(np.uint8).reshape(-1, HCPE.itemsize)
        rows = empty_rows(len(records))
        raw = rows.view(HCPE).reshape(-1)
        for name in RAW_FIELDS:
            raw[name] = records[name]
        return rows

    def extents(self, start: int, stop: int) -> Extents:
        """Say where records [start, stop) lie."""
        step = self._dtype.itemsize
        return [(self._offset + start * step, (stop - start) * step)]

    def game_keys(self, start: int, stop: int) -> GameKeys:
        """Hash the game ids of records [start, stop)."""
        ids = self._records(start, stop)["id"]
        if ids.dtype.kind == "U":
            _require_text(self.path, ids, start)
        return keys_of_fixed_text(ids)


@dataclass(frozen=True)
class NpyTable:
    """A one-dimensional structured array in a file.

    Attributes:
        path: the file.
        dtype: the record.
        rows: how many records it holds.
        offset: where the first one begins.
    """

    path: Path
    dtype: np.dtype[Any]
    rows: int
    offset: int

    def read(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Read records [start, stop).

        Raises:
            DataError: the file ends early.
        """
        step = self.dtype.itemsize
        at = self.offset + start * step
        return read_bytes(self.path, at, (stop - start) * step).view(self.dtype)

    def extents(self, start: int, stop: int) -> Extents:
        """Say where records [start, stop) lie."""
        step = self.dtype.itemsize
        return [(self.offset + start * step, (stop - start) * step)]


def open_table(path: Path, known: Sequence[np.dtype[Any]], what: str) -> NpyTable:
    """Open an array of exactly one of the known records.

    Args:
        path: the file.
        known: the records that it may hold, the most usual first.
        what: how messages name them.

    Raises:
        DataError: no such file, other records, or an array that does not fill the file.
    """
    size = file_size(path)
    shape, dtype, offset = read_header(path)
    if dtype not in known or len(shape) != 1:
        names = dtype.names or ()
        wrong = [
            f"{name} is {dtype[name] if name in names else 'missing'}"
            for name in known[0].names or ()
            if name not in names or all(dtype[name] != one[name] for one in known)
        ]
        raise DataError(
            f"{path}: not the {what} of docs/formats.md: "
            f"{'; '.join(wrong) or f'shape {shape} or the order of the fields'}"
        )
    require_rows(path, shape[0])
    expected = offset + shape[0] * dtype.itemsize
    if size != expected:
        raise DataError(
            f"{path}: the header promises {shape[0]} positions ({expected} bytes) "
            f"but the file has {size} bytes; it is truncated or was written over"
        )
    return NpyTable(path, dtype, shape[0], offset)


def _require_hcpe(path: Path, dtype: np.dtype[Any]) -> None:
    if dtype.names is None:
        raise DataError(
            f"{path}: holds plain {dtype} values, not hcpe records; it needs the "
            f"fields {', '.join(RAW_FIELDS)}"
        )
    missing = [name for name in RAW_FIELDS if name not in dtype.names]
    if missing:
        other = (
            " It looks like a preprocess shard." if "moveLabel" in dtype.names else ""
        )
        raise DataError(
            f"{path}: not an hcpe shard: missing {', '.join(missing)} among its fields "
            f"{shortened(', '.join(dtype.names))}.{other}"
        )
    wrong = [
        f"{name} is {dtype[name]}, not {HCPE[name]}"
        for name in RAW_FIELDS
        if dtype[name] != HCPE[name]
    ]
    if wrong:
        raise DataError(f"{path}: wrong field types: {'; '.join(wrong)}")


def _require_text(path: Path, ids: Any, first_row: int) -> None:
    """Refuse ids with numbers that are no characters (numpy stores any number)."""
    points = np.ascontiguousarray(ids).view(f"{ids.dtype.str[0]}u4")
    points = points.reshape(len(ids), ids.dtype.itemsize // 4)
    bad = (points > 0x10FFFF) | ((points >= 0xD800) & (points < 0xE000))
    if bad.any():
        row = first_row + int(np.flatnonzero(bad.any(axis=1))[0])
        raise DataError(f"{path}: row {row}: id is not text")
