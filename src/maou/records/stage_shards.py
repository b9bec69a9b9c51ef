"""Shards of stage records: what `maou utility generate-stage1-data` and 2 write.

`.npy` files, packed or unpacked, known by their dtype. Rows come out packed from
either, so that nothing further on knows which it was.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from maou.errors import DataError
from maou.records.npy import open_table
from maou.records.preprocess_containers import kind_of_file
from maou.records.preprocess_shards import (
    KIND_TEXT,
    code_positions,
    require,
    require_ranges,
)
from maou.records.stages import (
    STAGE1,
    STAGE1_UNPACKED,
    STAGE2,
    STAGE2_UNPACKED,
    pack_bits,
)
from maou.shogi.labels import N_LABELS
from maou.shogi.squares import N_SQUARES

Records = npt.NDArray[Any]

SUFFIX = ".npy"

_PIECE_ROWS = 1 << 16  # read together for their ids: 19 MB packed, 105 MB unpacked


@dataclass(frozen=True)
class Stage:
    """What a stage's records look like.

    Attributes:
        packed, unpacked: the record types.
        target: the field of the targets.
        flags: how many targets a row has.
        check: refuses rows that are no position of this stage (path, first row, rows).
        remedy: how to make such records.
    """

    packed: np.dtype[Any]
    unpacked: np.dtype[Any]
    target: str
    flags: int
    check: Callable[[Path, int, Records], object]
    remedy: str


STAGES = {
    1: Stage(
        STAGE1,
        STAGE1_UNPACKED,
        "reachableSquares",
        N_SQUARES,
        require_ranges,  # a case has no kings: it is not a position of a game
        "make them with maou utility generate-stage1-data",
    ),
    2: Stage(
        STAGE2,
        STAGE2_UNPACKED,
        "legalMovesLabel",
        N_LABELS,
        code_positions,
        "make them of hcpe records with maou utility generate-stage2-data",
    ),
}
"""The stages that have records of their own; stage 3 reads preprocess records."""


class StageShard:
    """One file of stage records.

    Attributes:
        path: the file.
        rows: how many records it holds.
        stage: 1 or 2.
        has_ids: never: its positions are of no particular game.
    """

    has_ids = False

    def __init__(self, path: Path, stage: int) -> None:
        """Check the header.

        Raises:
            DataError: no such file, records of another kind, or an array that does not
                fill the file.
        """
        self._form = form = STAGES[stage]
        kind = f"stage{stage}"
        found = kind_of_file(path)
        if found != kind:
            held = KIND_TEXT.get(found, "something else")
            raise DataError(
                f"{path}: holds {held}, not {KIND_TEXT[kind]}; {form.remedy}"
            )
        if path.suffix.lower() != SUFFIX:
            raise DataError(
                f"{path}: {KIND_TEXT[kind]} are read from {SUFFIX} files only; "
                f"{form.remedy}"
            )
        known = (form.packed, form.unpacked)
        self._table = open_table(path, known, f"record of stage {stage}")
        self.path, self.rows, self.stage = path, self._table.rows, stage

    def block_bounds(self, target: int) -> npt.NDArray[np.int64]:
        """Cut the rows into blocks that are cheap to read, int64 [blocks + 1]."""
        return np.append(np.arange(0, self.rows, target, dtype=np.int64), self.rows)

    def read(self, start: int, stop: int) -> Records:
        """Read and check records [start, stop), in the stage's packed form.

        Raises:
            DataError: the file ends early, or a row cannot be a record of the stage.
        """
        rows = self._table.read(start, stop)
        self._form.check(self.path, start, rows)
        if rows.dtype == self._form.packed:
            self._require_padding(start, rows)
            return rows
        return self._packed(start, rows)

    def ids(self) -> Iterator[npt.NDArray[np.uint64]]:
        """Yield the ids of the rows in order, some at a time, uint64 [n]."""
        for start in range(0, self.rows, _PIECE_ROWS):
            rows = self._table.read(start, min(start + _PIECE_ROWS, self.rows))
            yield np.ascontiguousarray(rows["id"])

    def _require_padding(self, start: int, rows: Records) -> None:
        used = self._form.flags % 8
        if used:
            clear = rows[self._form.target][:, -1] >> used == 0
            text = f"{self._form.target} has bits set beyond its {self._form.flags}"
            require(self.path, start, clear, text)

    def _packed(self, start: int, rows: Records) -> Records:
        target = self._form.target
        flags = rows[target].reshape(len(rows), -1)
        either = np.logical_and.reduce(flags <= 1, axis=1)
        require(self.path, start, either, f"{target} has values other than 0 and 1")
        packed = np.empty(len(rows), dtype=self._form.packed)
        for name in ("id", "boardIdPositions", "piecesInHand"):
            packed[name] = rows[name]
        packed[target] = pack_bits(flags.astype(np.bool_))
        return packed

    def __repr__(self) -> str:
        """Name the shard for messages."""
        return f"{type(self).__name__}({str(self.path)!r}, stage={self.stage})"
