"""`.npy` files of preprocess records.

A packed shard is one structured record (`preprocess.packed_dtype`): all positions, then
all moves, so that the header tells both numbers and any position is found at once. A
dense shard is a plain structured array.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from maou.errors import DataError
from maou.records.npy import open_table
from maou.records.npy_header import read_header
from maou.records.preprocess import DENSE, MOVE, POSITION, PackedBlock, Records
from maou.records.preprocess_shards import (
    DenseShard,
    PackedShard,
    kind_of_fields,
    not_of_kind,
    require,
    require_sound,
)
from maou.records.shards import Extents, file_size, read_bytes, require_rows


class PackedNpy(PackedShard):
    """A packed shard as one structured numpy record (`preprocess.packed_dtype`)."""

    def __init__(self, path: Path) -> None:
        """Check the header.

        Raises:
            DataError: no such file, or not a packed shard that fills the file.
        """
        size = file_size(path)
        shape, dtype, offset = read_header(path)
        if kind_of_fields(dtype.names or ()) != "packed":
            raise DataError(not_of_kind(path, "packed", dtype.names or ()))
        names = ("positions", "moves")
        parts = [dtype[name].subdtype for name in names if dtype.names == names]
        if (
            shape != ()
            or not parts
            or parts[0] is None
            or parts[1] is None
            or [part[0] for part in parts if part] != [POSITION, MOVE]
            or any(len(part[1]) != 1 for part in parts if part)
        ):
            raise DataError(
                f"{path}: a packed shard is a single record of the fields positions "
                f"({POSITION}) and moves ({MOVE}); this has shape {shape} and "
                f"dtype {str(dtype)[:300]}"
            )
        self.path = path
        self.rows, self.moves = parts[0][1][0], parts[1][1][0]
        require_rows(path, self.rows)
        self._positions_at = offset
        self._moves_at = offset + self.rows * POSITION.itemsize
        expected = self._moves_at + self.moves * MOVE.itemsize
        if size != expected:
            raise DataError(
                f"{path}: the header promises {self.rows} positions with {self.moves} "
                f"moves ({expected} bytes) but the file has {size} bytes; it is "
                "truncated or was written over"
            )

    def _positions(self, start: int, stop: int) -> Records:
        at = self._positions_at + start * POSITION.itemsize
        count = (stop - start) * POSITION.itemsize
        return read_bytes(self.path, at, count).view(POSITION)

    def codes(self, start: int, stop: int) -> npt.NDArray[np.uint8]:
        """Read the position codes of rows [start, stop)."""
        return np.ascontiguousarray(self._positions(start, stop)["hcp"])

    def move_bounds(self, start: int, stop: int) -> tuple[int, int]:
        """Tell where the moves of positions [start, stop) begin and end."""
        first = int(self._positions(start - 1, start)["end"][0]) if start else 0
        last = int(self._positions(stop - 1, stop)["end"][0]) if stop else 0
        return first, last

    def read(self, start: int, stop: int) -> PackedBlock:
        """Read positions [start, stop) with their moves."""
        first = self.move_bounds(start, start)[0] if start else 0
        positions = self._positions(start, stop)
        offsets = np.empty(stop - start + 1, dtype=np.int64)
        offsets[0], offsets[1:] = first, positions["end"]
        rises = (np.diff(offsets) > 0) & (offsets[1:] <= self.moves)
        require(self.path, start, rises, "its moves lie outside of the file's")
        at = self._moves_at + first * MOVE.itemsize
        count = int(offsets[-1] - first) * MOVE.itemsize
        moves = read_bytes(self.path, at, count).view(MOVE)
        block = PackedBlock(
            np.ascontiguousarray(positions["hcp"]),
            offsets - first,
            np.ascontiguousarray(moves["label"]),
            np.ascontiguousarray(moves["count"]),
            np.ascontiguousarray(moves["wins"]),
        )
        require_sound(self.path, start, block, positions["count"])
        return block

    def extents(self, start: int, stop: int) -> Extents:
        """Say where positions [start, stop) lie, and about where their moves do.

        Only the positions tell that exactly; but they are in no order of their number
        of moves, so about so many come before.
        """
        size = POSITION.itemsize
        first, last = (self.moves * row // self.rows for row in (start, stop))
        at = self._moves_at + first * MOVE.itemsize
        moves = (at, (last - first) * MOVE.itemsize)
        return [(self._positions_at + start * size, (stop - start) * size), moves]


class DenseNpy(DenseShard):
    """A dense shard as a one-dimensional structured numpy array."""

    def __init__(self, path: Path) -> None:
        """Check the header.

        Raises:
            DataError: no such file, or not a dense shard that fills the file.
        """
        names = read_header(path)[1].names or ()
        if kind_of_fields(names) != "dense":
            raise DataError(not_of_kind(path, "dense", names))
        self._table = open_table(path, (DENSE,), "dense record")
        self.path, self.rows = path, self._table.rows

    def read(self, start: int, stop: int) -> Records:
        """Read positions [start, stop)."""
        return self._table.read(start, stop)

    def extents(self, start: int, stop: int) -> Extents:
        """Say where positions [start, stop) lie."""
        return self._table.extents(start, stop)
