"""What datasets must know of a kind of record: join, take, and make a batch.

Datasets move rows about without looking at them. A kind says what a set of rows is: raw
hcpe records are bytes of one size; preprocess records have moves of their own number.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from maou.data.batch import PlayedBatch, PositionBatch, new_batch, soft_batch
from maou.data.soft_rows import SoftRows, join_soft, take_soft
from maou.errors import DataError
from maou.shogi.hcp import decode_hcp
from maou.shogi.labels import MIRROR_LABEL
from maou.shogi.samples import SAMPLE_STATUS_TEXT, decode_samples, mirror_samples
from maou.shogi.squares import MIRROR_BOARD

Locate = Callable[[int], str]
"""Gives the file and row (`path: row 17`) of an element of the rows."""

Index = npt.NDArray[np.int64]
Positions = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]


class RowKind(ABC):
    """A kind of record."""

    @abstractmethod
    def join(self, parts: Sequence[Any]) -> Any:
        """Put sets of rows one behind the other."""

    @abstractmethod
    def take(self, rows: Any, index: Index) -> Any:
        """Return the rows that `index` names, in its order."""

    @abstractmethod
    def arrays(self, rows: Any) -> list[npt.NDArray[Any]]:
        """Return the arrays that the rows consist of."""

    @abstractmethod
    def from_arrays(self, arrays: list[npt.NDArray[Any]]) -> Any:
        """Make rows of their arrays: the inverse of `arrays`."""

    @abstractmethod
    def positions(self, rows: Any) -> Positions:
        """Return boards uint8 [n, 81] and hands uint8 [n, 14] from the side to move."""

    @abstractmethod
    def encode(
        self,
        rows: Any,
        index: Index,
        locate: Locate,
        mirrored_B: npt.NDArray[np.bool_] | None = None,
    ) -> PositionBatch:
        """Make a batch of the rows that `index` names, mirroring those chosen.

        Raises:
            DataError: a row is damaged; the message names the first one.
        """


def mirrored_boards(
    board_BS: npt.NDArray[np.uint8], mirrored_B: npt.NDArray[np.bool_]
) -> npt.NDArray[np.uint8]:
    """Mirror the chosen boards left to right, uint8 [B, 81]."""
    return np.where(mirrored_B[:, None], board_BS[:, MIRROR_BOARD], board_BS)


def refuse_damaged(
    status_B: npt.NDArray[np.integer[Any]], index: Index, locate: Locate
) -> None:
    """Refuse a batch of which a sample's status is not zero.

    Raises:
        DataError: names the first such row.
    """
    if status_B.any():
        bad = int(np.flatnonzero(status_B)[0])
        text = SAMPLE_STATUS_TEXT[int(status_B[bad])]
        raise DataError(f"{locate(int(index[bad]))}: {text}")


class HcpeRows(RowKind):
    """Raw hcpe records, uint8 [n, 38]; decoded when a batch is made."""

    def join(self, parts: Sequence[Any]) -> Any:
        """Put records one behind the other."""
        return np.concatenate(parts)

    def take(self, rows: Any, index: Index) -> Any:
        """Return some records."""
        return rows[index]

    def arrays(self, rows: Any) -> list[npt.NDArray[Any]]:
        """Return the one array."""
        return [rows]

    def from_arrays(self, arrays: list[npt.NDArray[Any]]) -> Any:
        """Return the one array."""
        return arrays[0]

    def positions(self, rows: Any) -> Positions:
        """Decode the position codes."""
        board_BS, hand_BH, _ = decode_hcp(rows)
        return board_BS, hand_BH

    def encode(
        self,
        rows: Any,
        index: Index,
        locate: Locate,
        mirrored_B: npt.NDArray[np.bool_] | None = None,
    ) -> PlayedBatch:
        """Decode records."""
        batch, samples = new_batch(len(index))
        # Rows that lie together decode a third faster than rows from all over.
        decode_samples(rows[index], out=samples)
        refuse_damaged(samples.status_B, index, locate)
        if mirrored_B is not None:
            mirror_samples(samples, mirrored_B)
        return batch


class SoftTargetRows(RowKind):
    """Preprocess records; decoded and checked when they were read."""

    def join(self, parts: Sequence[Any]) -> Any:
        """Put records one behind the other."""
        return join_soft(parts)

    def take(self, rows: Any, index: Index) -> Any:
        """Return some records."""
        return take_soft(rows, index)

    def arrays(self, rows: Any) -> list[npt.NDArray[Any]]:
        """Return the six arrays."""
        return list(rows)

    def from_arrays(self, arrays: list[npt.NDArray[Any]]) -> Any:
        """Make rows of the six arrays."""
        return SoftRows(*arrays)

    def positions(self, rows: Any) -> Positions:
        """Return what is there."""
        return rows.board_BS, rows.hand_BH

    def encode(
        self,
        rows: Any,
        index: Index,
        locate: Locate,
        mirrored_B: npt.NDArray[np.bool_] | None = None,
    ) -> PlayedBatch:
        """Lay out records; nothing can be wrong with them any more."""
        taken = take_soft(rows, index)
        board_BS, labels = taken.board_BS, taken.labels
        sizes_B = np.diff(taken.offsets)
        if mirrored_B is not None:
            board_BS = mirrored_boards(board_BS, mirrored_B)
            labels = np.where(
                np.repeat(mirrored_B, sizes_B), MIRROR_LABEL[labels], labels
            ).astype(np.int16)
        return soft_batch(
            board_BS, taken.hand_BH, taken.value_B, sizes_B, (labels, taken.shares)
        )


HCPE_ROWS = HcpeRows()
SOFT_ROWS = SoftTargetRows()
