"""Stage 1 data: every case of where a piece can go on an otherwise empty board.

The cases: each of the 14 kinds of own piece on each square where it may stand, which is
1,098 (14 x 81 = 1,134, less 9 + 9 + 18 squares from which a pawn, a lance or a knight
could never move); and each of the seven kinds in hand with nothing on the board, 7.
Together 1,105. Opponent's pieces add nothing: a sample is seen from its mover.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from maou.records.stages import STAGE1, pack_bits
from maou.shogi import pieces
from maou.shogi.squares import BOARD_INDEX, FILE, N_SQUARES, RANK

Step = tuple[int, int]
"""Files towards 9 and ranks towards i; up the board is (0, -1)."""

_UP, _DOWN, _LEFT, _RIGHT = (0, -1), (0, 1), (1, 0), (-1, 0)
_UP_LEFT, _UP_RIGHT, _DOWN_LEFT, _DOWN_RIGHT = (1, -1), (-1, -1), (1, 1), (-1, 1)
_STRAIGHT = (_UP, _DOWN, _LEFT, _RIGHT)
_DIAGONAL = (_UP_LEFT, _UP_RIGHT, _DOWN_LEFT, _DOWN_RIGHT)
_AS_GOLD = (_UP, _UP_LEFT, _UP_RIGHT, _LEFT, _RIGHT, _DOWN)

STEPS: dict[int, tuple[Step, ...]] = {
    pieces.PAWN: (_UP,),
    pieces.LANCE: (),
    pieces.KNIGHT: ((1, -2), (-1, -2)),
    pieces.SILVER: (_UP, *_DIAGONAL),
    pieces.GOLD: _AS_GOLD,
    pieces.BISHOP: (),
    pieces.ROOK: (),
    pieces.KING: (*_STRAIGHT, *_DIAGONAL),
    pieces.PRO_PAWN: _AS_GOLD,
    pieces.PRO_LANCE: _AS_GOLD,
    pieces.PRO_KNIGHT: _AS_GOLD,
    pieces.PRO_SILVER: _AS_GOLD,
    pieces.HORSE: _STRAIGHT,
    pieces.DRAGON: _DIAGONAL,
}
"""Single steps of each own piece."""

SLIDES: dict[int, tuple[Step, ...]] = {
    pieces.LANCE: (_UP,),
    pieces.BISHOP: _DIAGONAL,
    pieces.ROOK: _STRAIGHT,
    pieces.HORSE: _DIAGONAL,
    pieces.DRAGON: _STRAIGHT,
}
"""Directions in which an own piece goes any distance."""


def reachable_squares(piece: int, square: int) -> set[int]:
    """Return the squares that an own piece reaches from a square of an empty board."""
    reached = set()
    for files, ranks in STEPS[piece]:
        reached |= _along(square, files, ranks, 1)
    for files, ranks in SLIDES.get(piece, ()):
        reached |= _along(square, files, ranks, 8)
    return reached


def _along(square: int, files: int, ranks: int, distance: int) -> set[int]:
    reached = set()
    file, rank = int(FILE[square]), int(RANK[square])
    for _ in range(distance):
        file, rank = file + files, rank + ranks
        if not (0 <= file < 9 and 0 <= rank < 9):
            break
        reached.add(9 * file + rank)
    return reached


def stage1_cases() -> npt.NDArray[np.void]:
    """Enumerate the cases, pieces on the board first: `STAGE1` records [1105]."""
    cases: list[_Case] = []
    for piece in STEPS:
        for square in range(N_SQUARES):
            reached = reachable_squares(piece, square)
            if reached:
                cases.append(_Case({square: piece}, None, reached))
    for hand, piece in enumerate(pieces.KIND_IDS):
        may_stand = {s for s in range(N_SQUARES) if reachable_squares(piece, s)}
        cases.append(_Case({}, hand, may_stand))
    return _records(cases)


class _Case(NamedTuple):
    """Pieces by square, an index of the hand, and the squares that are reached."""

    board: dict[int, int]
    hand: int | None
    target: set[int]


def _records(cases: list[_Case]) -> npt.NDArray[np.void]:
    records = np.zeros(len(cases), dtype=STAGE1)
    records["id"] = np.arange(len(cases))
    flags = np.zeros((len(cases), N_SQUARES), dtype=np.bool_)
    flat = records["boardIdPositions"].reshape(len(cases), N_SQUARES)
    for i, case in enumerate(cases):
        for square, piece in case.board.items():
            flat[i, BOARD_INDEX[square]] = piece
        if case.hand is not None:
            records["piecesInHand"][i, case.hand] = 1
        flags[i, BOARD_INDEX[sorted(case.target)]] = True
    records["reachableSquares"] = pack_bits(flags)
    return records
