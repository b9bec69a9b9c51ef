"""Records of stages 1 and 2: where a piece can go, and which moves are legal.

We write targets as bits, 11 and 187 bytes a record, in the order of board indices and
of labels, least significant bit first. The unpacked forms have a byte, 0 or 1, for each
target; they are read too.
"""

import numpy as np
import numpy.typing as npt

from maou.shogi.labels import N_LABELS
from maou.shogi.squares import N_SQUARES

SQUARE_BYTES = -(-N_SQUARES // 8)
LABEL_BYTES = -(-N_LABELS // 8)

STAGE1 = np.dtype(
    [
        ("id", "<u8"),
        ("boardIdPositions", "u1", (9, 9)),
        ("piecesInHand", "u1", (14,)),
        ("reachableSquares", "u1", (SQUARE_BYTES,)),
    ]
)
"""One case of stage 1, 114 bytes."""

STAGE2 = np.dtype(
    [
        ("id", "<u8"),
        ("boardIdPositions", "u1", (9, 9)),
        ("piecesInHand", "u1", (14,)),
        ("legalMovesLabel", "u1", (LABEL_BYTES,)),
    ]
)
"""One position of stage 2, 290 bytes."""


STAGE1_UNPACKED = np.dtype([*STAGE1.descr[:3], ("reachableSquares", "u1", (9, 9))])
"""One case of stage 1 with a byte a square, 184 bytes."""

STAGE2_UNPACKED = np.dtype([*STAGE2.descr[:3], ("legalMovesLabel", "u1", (N_LABELS,))])
"""One position of stage 2 with a byte a label, 1,599 bytes."""


def pack_bits(flags: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Pack flags [n, k] into bytes [n, ceil(k / 8)]."""
    return np.packbits(flags, axis=1, bitorder="little")


def unpack_bits(packed: npt.NDArray[np.uint8], count: int) -> npt.NDArray[np.uint8]:
    """Unpack bytes [n, ceil(count / 8)] into 0 and 1, uint8 [n, count]."""
    return np.unpackbits(packed, axis=1, count=count, bitorder="little")
