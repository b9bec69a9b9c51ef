"""Stage records as training needs them: positions with packed yes-or-no targets.

Rows are structured records in the stage's packed form, checked when they were read.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from maou.data.batch import FlagBatch, flag_batch
from maou.data.kinds import Index, Locate, Positions, RowKind, mirrored_boards
from maou.records.stage_shards import STAGES
from maou.shogi.compiled import kernel, signed
from maou.shogi.labels import MIRROR_LABEL
from maou.shogi.squares import MIRROR_BOARD, N_SQUARES


class FlagRows(RowKind):
    """Records of a stage: positions with K packed flags."""

    def __init__(self, stage: int, mirror_K: npt.NDArray[np.integer[Any]]) -> None:
        """Remember the record, and where each flag goes in a mirror, [K]."""
        form = STAGES[stage]
        self._dtype, self._target, self._flags = form.packed, form.target, form.flags
        self._mirror_K = mirror_K.astype(np.int64)

    def join(self, parts: Sequence[Any]) -> Any:
        """Put records one behind the other."""
        return np.concatenate(parts)

    def take(self, rows: Any, index: Index) -> Any:
        """Return some records."""
        return self.from_arrays([self.arrays(rows)[0][index]])

    def arrays(self, rows: Any) -> list[npt.NDArray[Any]]:
        """Return the records' bytes, uint8 [n, bytes of a record]."""
        return [rows.view(np.uint8).reshape(len(rows), self._dtype.itemsize)]

    def from_arrays(self, arrays: list[npt.NDArray[Any]]) -> Any:
        """View bytes as records."""
        return arrays[0].view(self._dtype).reshape(-1)

    def positions(self, rows: Any) -> Positions:
        """Return what is there."""
        board_BS = rows["boardIdPositions"].reshape(len(rows), N_SQUARES)
        return np.ascontiguousarray(board_BS), np.ascontiguousarray(
            rows["piecesInHand"]
        )

    def encode(
        self,
        rows: Any,
        index: Index,
        locate: Locate,
        mirrored_B: npt.NDArray[np.bool_] | None = None,
    ) -> FlagBatch:
        """Lay out records; nothing can be wrong with them any more."""
        taken = self.take(rows, index)
        board_BS, hand_BH = self.positions(taken)
        packed_BP = taken[self._target]
        if mirrored_B is not None:
            board_BS = mirrored_boards(board_BS, mirrored_B)
            packed_BP = np.ascontiguousarray(packed_BP)
            _mirror_flags(packed_BP, mirrored_B, self._mirror_K)
        return flag_batch(board_BS, hand_BH, packed_BP, self._flags)


@kernel
def _mirror_flags(
    packed_BP: npt.NDArray[np.uint8],
    chosen_B: npt.NDArray[np.bool_],
    mirror_K: npt.NDArray[np.int64],
) -> None:
    """Send flag k of each chosen row to place `mirror_K[k]`, in place."""
    copy = np.empty(packed_BP.shape[1], dtype=np.uint8)
    for i in range(len(chosen_B)):
        if not chosen_B[i]:
            continue
        copy[:] = packed_BP[i]
        packed_BP[i] = 0
        for at in range(len(copy)):
            byte, flag = signed(copy[at]), 8 * at
            while byte:  # few moves are legal: most bytes are empty
                if byte & 1:
                    to = mirror_K[flag]
                    packed_BP[i, to >> 3] |= np.uint8(1 << (to & 7))
                byte >>= 1
                flag += 1


REACHABLE_ROWS = FlagRows(1, MIRROR_BOARD)
LEGAL_MOVES_ROWS = FlagRows(2, MIRROR_LABEL)

STAGE_ROWS = {1: REACHABLE_ROWS, 2: LEGAL_MOVES_ROWS}
"""The kind of each stage's records."""
