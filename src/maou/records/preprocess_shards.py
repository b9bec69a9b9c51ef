"""Shards of preprocess records: packed or dense, `.npy` or `.feather`.

A shard is opened by looking at its header alone; its kind, its positions and its layout
are then known. Any run of positions can be read by itself, and nothing else is held.
"""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from maou.errors import DataError
from maou.records.preprocess import (
    PackedBlock,
    Records,
    totals,
)
from maou.records.shards import Extents, file_size
from maou.shogi.hcp import STATUS_TEXT, encode_hcp
from maou.shogi.labels import N_LABELS
from maou.shogi.pieces import HAND_MAX, N_PIECE_IDS
from maou.shogi.squares import N_SQUARES


class PreprocessShard(ABC):
    """One file of preprocess records.

    Attributes:
        path: the file.
        rows: how many positions it holds.
        packed: whether they are packed; each form has its own `read`.
    """

    path: Path
    rows: int
    packed: bool

    @abstractmethod
    def codes(self, start: int, stop: int) -> npt.NDArray[np.uint8]:
        """Read the position codes of rows [start, stop), uint8 [B, 32].

        Raises:
            DataError: the file ends early, or a row is not a position.
        """

    def block_bounds(self, target: int) -> npt.NDArray[np.int64]:
        """Cut the rows into blocks that are cheap to read, int64 [blocks + 1]."""
        return np.append(np.arange(0, self.rows, target, dtype=np.int64), self.rows)

    def extents(self, start: int, stop: int) -> Extents:
        """Say which bytes of the file reading rows [start, stop) takes, about."""
        return [(0, file_size(self.path))]

    def __repr__(self) -> str:
        """Name the shard for messages."""
        return f"{type(self).__name__}({str(self.path)!r}, rows={self.rows})"


class PackedShard(PreprocessShard):
    """A shard of packed positions."""

    packed = True

    @abstractmethod
    def read(self, start: int, stop: int) -> PackedBlock:
        """Read positions [start, stop) with their moves.

        Raises:
            DataError: the file ends early, or contradicts itself at some row.
        """


class DenseShard(PreprocessShard):
    """A shard of dense positions."""

    packed = False

    @abstractmethod
    def read(self, start: int, stop: int) -> Records:
        """Read positions [start, stop) as `DENSE` [stop - start].

        Raises:
            DataError: the file ends early.
        """

    def codes(self, start: int, stop: int) -> npt.NDArray[np.uint8]:
        """Code the positions of rows [start, stop)."""
        return code_positions(self.path, start, self.read(start, stop))


def code_positions(path: Path, first: int, rows: Records) -> npt.NDArray[np.uint8]:
    """Code the positions of records with a board and hands, uint8 [B, 32].

    Raises:
        DataError: a row, counted from `first`, is not a position.
    """
    require_ranges(path, first, rows)
    board_BS = rows["boardIdPositions"].reshape(-1, N_SQUARES)
    codes, status_B = encode_hcp(board_BS, rows["piecesInHand"])
    for status, text in STATUS_TEXT.items():
        require(path, first, status_B != status, text)
    return codes


def require_ranges(path: Path, first: int, rows: Records) -> None:
    """Refuse records with piece ids or hand counts that there are none of."""
    board_BS = rows["boardIdPositions"].reshape(-1, N_SQUARES)
    known = np.logical_and.reduce(board_BS < N_PIECE_IDS, axis=1)
    known &= np.logical_and.reduce(rows["piecesInHand"] <= HAND_MAX, axis=1)
    require(path, first, known, "a piece id or hand count is out of range")


KIND_TEXT = {
    "hcpe": "hcpe records",
    "packed": "packed preprocess records",
    "dense": "dense preprocess records",
    "stage1": "stage 1 records",
    "stage2": "stage 2 records",
}
"""What to call each kind of record."""

HCPE_REMEDY = (
    "holds hcpe records; make preprocess records of them with maou pre-process"
)


def kind_of_fields(names: Any) -> str:
    """Tell what records have these fields: a key of `KIND_TEXT`, or nothing."""
    if "reachableSquares" in names:
        return "stage1"
    if "legalMovesLabel" in names:
        return "stage2"
    if "boardIdPositions" in names:
        return "dense"
    if "moves" in names and ("positions" in names or "bestMove16" not in names):
        return "packed"
    return "hcpe" if "bestMove16" in names else ""


def not_of_kind(path: Path, kind: str, names: Any) -> str:
    """Say what a file holds instead of `packed` or `dense` records."""
    found = kind_of_fields(names)
    if found == "hcpe":
        return f"{path}: {HCPE_REMEDY}"
    if found:
        text = f"{path}: holds {KIND_TEXT[found]}, not "
        flags = {"packed": "give", "dense": "leave out"}
        if found not in flags:
            return f"{text}preprocess ones"
        return f"{text}{kind} ones; {flags[found]} --input-file-packed"
    fields = f"the fields {', '.join(names)}" if len(names) else "no fields"
    return f"{path}: not a preprocess shard: it has {fields[:300]}"


def require(path: Path, first: int, good: npt.NDArray[np.bool_], text: str) -> None:
    """Refuse the first row that is not good, counted from `first`."""
    if not good.all():
        raise DataError(f"{path}: row {first + int(np.argmin(good))}: {text}")


def require_sound(path: Path, first: int, block: PackedBlock, counts: Any) -> None:
    """Refuse rows whose numbers contradict each other."""
    if not len(block.codes):
        return
    wins, played = block.wins.astype(np.int64), block.counts.astype(np.int64)
    moves = (block.labels < N_LABELS) & (played > 0) & (wins <= 2 * played)
    good = np.logical_and.reduceat(moves, block.offsets[:-1])
    require(path, first, good, "a move has an impossible label, count or wins")
    require(path, first, totals(block) == counts, "its moves do not add up to count")
