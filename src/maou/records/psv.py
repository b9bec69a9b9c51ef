"""Packed sfen values (`.psv`, `.bin`): YaneuraOu's 40 bytes a position, no header.

A value becomes the raw hcpe record of the same position. Its result, seen from the side
to move, becomes the winner; the game ply is left out. Values name no game.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from maou.errors import DataError
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
from maou.shogi.compiled import kernel, signed
from maou.shogi.hcp import STATUS_TEXT, VALID, decode_hcp
from maou.shogi.packed_sfen import hcp_of_packed_sfen, move16_of_packed

PSV = np.dtype(
    [
        ("sfen", "u1", (32,)),
        ("score", "<i2"),
        ("move", "<u2"),
        ("gamePly", "<u2"),
        ("game_result", "i1"),
        ("padding", "u1"),
    ]
)
"""A packed sfen value, 40 bytes. `score` and `game_result` (1 won, 0 drawn, -1 lost)
are seen from the side to move."""

_BYTES = PSV.itemsize
_MOVE_AT, _RESULT_AT = 34, 38
_TRIED = 16  # values that must hold positions in a file of a suffix that anyone uses
_NO_RESULT = 3  # as gameResult: none of the three


@kernel
def _convert(values: npt.NDArray[np.uint8], rows: Rows) -> None:
    for i in range(len(values)):
        value, row = values[i], rows[i]
        hcp_of_packed_sfen(value, row)
        row[32], row[33] = value[32], value[33]
        packed = signed(value[_MOVE_AT]) | signed(value[_MOVE_AT + 1]) << 8
        move16 = move16_of_packed(packed)
        row[34], row[35] = move16 & 255, move16 >> 8
        turn, result = value[0] & 1, value[_RESULT_AT]
        if result == 0:
            row[36] = 0
        elif result == 1:
            row[36] = 1 + turn
        elif result == 255:  # -1
            row[36] = 2 - turn
        else:
            row[36] = _NO_RESULT


class PsvShard(Shard):
    """A file of packed sfen values."""

    def __init__(self, path: Path) -> None:
        """Look at the file's size, and at the first values where `.bin` names it.

        Raises:
            DataError: no such file, no values, not a whole number of them, or a `.bin`
                file that holds something else.
        """
        size = file_size(path)
        if size % _BYTES:
            raise DataError(
                f"{path}: {size} bytes are not a whole number of {_BYTES}-byte packed "
                f"sfen values (row {size // _BYTES} is cut); the file is truncated or "
                "of another format"
            )
        self.path = path
        self.rows = size // _BYTES
        self.has_ids = False
        require_rows(path, self.rows)
        if path.suffix.lower() == ".bin":
            self._require_positions()

    def _require_positions(self) -> None:
        *_, status_B = decode_hcp(self.read(0, min(self.rows, _TRIED)))
        bad = np.flatnonzero(status_B != VALID)
        if len(bad):
            reason = STATUS_TEXT[int(status_B[bad[0]])]
            raise DataError(
                f"{self.path}: does not begin with packed sfen values (row {bad[0]}: "
                f"{reason}), which .bin is read as; name it .psv if it holds such "
                "values all the same"
            )

    def read(self, start: int, stop: int) -> Rows:
        """Read values [start, stop) as raw hcpe records.

        What is no position, move or result becomes a record that is damaged in the
        same way, for the checks of records to name.
        """
        data = read_bytes(self.path, start * _BYTES, (stop - start) * _BYTES)
        rows = empty_rows(stop - start)
        _convert(data.reshape(-1, _BYTES), rows)
        return rows

    def extents(self, start: int, stop: int) -> Extents:
        """Say where values [start, stop) lie."""
        return [(start * _BYTES, (stop - start) * _BYTES)]

    def game_keys(self, start: int, stop: int) -> GameKeys:
        """Packed sfen values name no game: asking is a mistake of the caller."""
        raise AssertionError(f"{self.path}: rows {start} to {stop} have no ids")
