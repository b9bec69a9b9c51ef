"""Preprocess records as training needs them: positions, mean results, move shares."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from maou.errors import DataError
from maou.records.preprocess import PackedBlock
from maou.records.preprocess_shards import (
    DenseShard,
    PackedShard,
    PreprocessShard,
    code_positions,
)
from maou.shogi.compiled import kernel
from maou.shogi.hcp import STATUS_TEXT, decode_hcp
from maou.shogi.squares import N_SQUARES


class SoftRows(NamedTuple):
    """B positions with N moves in all, about 110 bytes a typical position."""

    board_BS: npt.NDArray[np.uint8]
    """Piece ids, uint8 [B, 81]."""

    hand_BH: npt.NDArray[np.uint8]
    """Hand counts, uint8 [B, 14]."""

    value_B: npt.NDArray[np.float32]
    """Mean result of the side to move, float32 [B]."""

    offsets: npt.NDArray[np.int64]
    """Position i has the moves [offsets[i], offsets[i + 1]), int64 [B + 1]."""

    labels: npt.NDArray[np.int16]
    """Labels of the moves, int16 [N]."""

    shares: npt.NDArray[np.float32]
    """Share of each move among its position's, float32 [N]."""


class SoftShard:
    """A preprocess shard that is read as `SoftRows`.

    Attributes:
        path: the file.
        rows: how many positions it holds.
        has_ids: never; preprocess records sum up many games.
    """

    has_ids = False

    def __init__(self, shard: PreprocessShard) -> None:
        """Wrap an opened shard."""
        self._shard = shard
        self.path = shard.path
        self.rows = shard.rows

    def block_bounds(self, target: int) -> npt.NDArray[np.int64]:
        """Cut the rows into blocks that are cheap to read."""
        return self._shard.block_bounds(target)

    def read(self, start: int, stop: int) -> SoftRows:
        """Read positions [start, stop).

        Raises:
            DataError: the file ends early, or a row is damaged.
        """
        if isinstance(self._shard, PackedShard):
            return self._from_packed(self._shard.read(start, stop), start)
        assert isinstance(self._shard, DenseShard)
        return self._from_dense(self._shard, start, stop)

    def _from_packed(self, block: PackedBlock, start: int) -> SoftRows:
        board_BS, hand_BH, status_B = decode_hcp(block.codes)
        if status_B.any():
            bad = int(np.flatnonzero(status_B)[0])
            raise DataError(
                f"{self.path}: row {start + bad}: {STATUS_TEXT[int(status_B[bad])]}"
            )
        offsets = block.offsets.astype(np.int64)
        counts = block.counts.astype(np.float64)
        total = np.add.reduceat(counts, offsets[:-1])
        points = np.add.reduceat(block.wins.astype(np.float64), offsets[:-1])
        shares = counts / np.repeat(total, np.diff(offsets))
        return SoftRows(
            board_BS,
            hand_BH,
            (points / (2 * total)).astype(np.float32),
            offsets,
            block.labels.astype(np.int16),
            shares.astype(np.float32),
        )

    def _from_dense(self, shard: DenseShard, start: int, stop: int) -> SoftRows:
        rows = shard.read(start, stop)
        code_positions(self.path, start, rows)  # checks them
        position, label = np.nonzero(rows["moveLabel"])
        sizes = np.bincount(position, minlength=len(rows))
        if (sizes == 0).any():
            bad = int(np.flatnonzero(sizes == 0)[0])
            raise DataError(f"{self.path}: row {start + bad}: moveLabel is all zero")
        shares = rows["moveLabel"][position, label].astype(np.float64)
        total = np.bincount(position, weights=shares, minlength=len(rows))
        return SoftRows(
            np.ascontiguousarray(rows["boardIdPositions"]).reshape(-1, N_SQUARES),
            np.ascontiguousarray(rows["piecesInHand"]),
            rows["resultValue"].astype(np.float32),
            np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            label.astype(np.int16),
            (shares / total[position]).astype(np.float32),
        )


def join_soft(parts: Sequence[SoftRows]) -> SoftRows:
    """Put sets of rows one behind the other."""
    if len(parts) == 1:
        return parts[0]
    sizes = np.concatenate([np.diff(part.offsets) for part in parts])
    return SoftRows(
        np.concatenate([part.board_BS for part in parts]),
        np.concatenate([part.hand_BH for part in parts]),
        np.concatenate([part.value_B for part in parts]),
        np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.shares for part in parts]),
    )


@kernel
def _gather(
    index: npt.NDArray[np.int64],
    from_offsets: npt.NDArray[np.int64],
    to_offsets: npt.NDArray[np.int64],
    entries: npt.NDArray[np.int64],
) -> None:
    for i in range(len(index)):
        begin = from_offsets[index[i]]
        for k in range(to_offsets[i + 1] - to_offsets[i]):
            entries[to_offsets[i] + k] = begin + k


def take_soft(rows: SoftRows, index: npt.NDArray[np.int64]) -> SoftRows:
    """Return the rows that `index` names, in its order."""
    sizes = (rows.offsets[1:] - rows.offsets[:-1])[index]
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    entries = np.empty(int(offsets[-1]), dtype=np.int64)
    _gather(index, rows.offsets, offsets, entries)
    return SoftRows(
        rows.board_BS[index],
        rows.hand_BH[index],
        rows.value_B[index],
        offsets,
        rows.labels[entries],
        rows.shares[entries],
    )
