"""Whether a position can occur and whether one given move is legal in it.

Takes decoded positions (from the side to move, which plays up the board) and the move
recorded with each; gives flags and a reason a row. A check of one move needs no move
generator, so a batch kernel does it at the speed of decoding. Repetition and
impasse are not looked at: they depend on the game. rsshogi and cshogi judge this module
in the tests.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from maou.shogi.compiled import inlined, kernel, signed
from maou.shogi.labels import MOVE_LABEL
from maou.shogi.packed_sfen import OTHER_MOVE
from maou.shogi.pieces import (
    BISHOP,
    DRAGON,
    DROP_ORIGINS,
    EMPTY,
    GOLD,
    HORSE,
    KINDS,
    KING,
    KNIGHT,
    LANCE,
    N_OWN,
    N_PIECE_IDS,
    PAWN,
    PRO_KNIGHT,
    PRO_LANCE,
    PRO_PAWN,
    PRO_SILVER,
    PROMOTED,
    ROOK,
    SILVER,
)
from maou.shogi.squares import BOARD_INDEX, N_SQUARES

KING_TAKEN, TWO_PAWNS, STUCK_PIECE = 1, 2, 4

POSITION_TEXT = {
    KING_TAKEN: "the side to move can take the king",
    TWO_PAWNS: "two pawns of one side on a file",
    STUCK_PIECE: "a pawn, lance or knight on a rank where it can never move",
}
"""What each flag of `fault_B` says of a position."""

LEGAL = 0
NO_MOVE = 1
NO_SUCH_MOVE = 2
NO_PIECE = 3
NOT_IN_HAND = 4
OCCUPIED = 5
WRONG_WAY = 6
WRONG_PROMOTION = 7
SECOND_PAWN = 8
SELF_CHECK = 9
PAWN_MATE = 10
OTHER_CODING = 11

MOVE_TEXT = {
    NO_MOVE: "no move is recorded (an empty policy target)",
    NO_SUCH_MOVE: "no move of any piece",
    NO_PIECE: "no own piece on the origin square",
    NOT_IN_HAND: "drops a piece that is not in hand",
    OCCUPIED: "goes to a square of an own piece, or drops on a piece",
    WRONG_WAY: "the piece does not move so, or its way is blocked",
    WRONG_PROMOTION: "promotes a piece that cannot, or does not where it must",
    SECOND_PAWN: "drops a second pawn on a file",
    SELF_CHECK: "leaves the own king in check",
    PAWN_MATE: "mates by dropping a pawn",
    OTHER_CODING: "not coded as YaneuraOu packs a move: the file may hold dlshogi's "
    "move16 or another coding",
}
"""Why a recorded move is not legal."""

# Ways by bit: up, down, left, right, then the diagonals. A way and its opposite are
# at d and d ^ 1, so an opponent's masks are its own with neighbouring bits exchanged.
_WAYS = ((-1, 0), (1, 0), (0, 1), (0, -1), (-1, 1), (1, -1), (-1, -1), (1, 1))
_RANK_STEP = np.array([rank for rank, _ in _WAYS])
_FILE_STEP = np.array([file for _, file in _WAYS])
_STRAIGHT, _DIAGONAL, _UP, _FORWARD = 0b00001111, 0b11110000, 0b1, 0b01010001
_LIKE_GOLD = _STRAIGHT | _FORWARD

_STEPS_OF = {
    PAWN: _UP,
    SILVER: _FORWARD | _DIAGONAL,
    KING: _STRAIGHT | _DIAGONAL,
    HORSE: _STRAIGHT,
    DRAGON: _DIAGONAL,
    **dict.fromkeys((GOLD, PRO_PAWN, PRO_LANCE, PRO_KNIGHT, PRO_SILVER), _LIKE_GOLD),
}
_SLIDES_OF = {
    LANCE: _UP,
    BISHOP: _DIAGONAL,
    ROOK: _STRAIGHT,
    HORSE: _DIAGONAL,
    DRAGON: _STRAIGHT,
}


def _masks(ways_of: dict[int, int]) -> npt.NDArray[np.int64]:
    """Tabulate the ways of a piece by id, int64 [29]."""
    masks = np.zeros(N_PIECE_IDS, dtype=np.int64)
    for piece, ways in ways_of.items():
        masks[piece] = ways
        masks[piece + N_OWN] = (ways & 0x55) << 1 | (ways & 0xAA) >> 1
    return masks


_SLIDES = _masks(_SLIDES_OF)
_NEAR = _masks(_STEPS_OF) | _SLIDES  # ways that reach the neighbouring square

_PROMOTES = np.isin(np.arange(N_PIECE_IDS), list(PROMOTED))
_DROP_KIND = np.array([KINDS.index(kind) for kind in DROP_ORIGINS])
_PLACE = BOARD_INDEX.astype(np.int64)

_OTHER_PAWN, _OTHER_LANCE = PAWN + N_OWN, LANCE + N_OWN
_OTHER_KNIGHT, _OTHER_KING = KNIGHT + N_OWN, KING + N_OWN


class Verdicts(NamedTuple):
    """What was found; B rows."""

    fault_B: npt.NDArray[np.uint8]
    """Flags of `POSITION_TEXT`, uint8 [B]; 0 for a possible position."""

    move_B: npt.NDArray[np.uint8]
    """`LEGAL`, or the reason in `MOVE_TEXT`, uint8 [B]."""


@inlined
def _is_own(piece: int) -> bool:
    return 0 < piece <= N_OWN


@kernel
def _attacked(board_S: npt.NDArray[np.uint8], target: int, by_other: bool) -> bool:
    """Tell whether a side could take on a square (board index)."""
    rank, file = target // 9, target % 9
    for way in range(8):
        rank_step, file_step = _RANK_STEP[way], _FILE_STEP[way]
        masks = _NEAR
        at_rank, at_file = rank - rank_step, file - file_step
        while 0 <= at_rank < 9 and 0 <= at_file < 9:
            piece = signed(board_S[9 * at_rank + at_file])
            if piece:
                if (piece > N_OWN) == by_other and masks[piece] >> way & 1:
                    return True
                break
            masks = _SLIDES
            at_rank, at_file = at_rank - rank_step, at_file - file_step
    knight = _OTHER_KNIGHT if by_other else KNIGHT
    at_rank = rank - 2 if by_other else rank + 2
    if 0 <= at_rank < 9:
        if file > 0 and board_S[9 * at_rank + file - 1] == knight:
            return True
        if file < 8 and board_S[9 * at_rank + file + 1] == knight:
            return True
    return False


@kernel
def _reaches(board_S: npt.NDArray[np.uint8], origin: int, target: int) -> bool:
    """Tell whether the piece on a square moves to another with nothing between."""
    piece = signed(board_S[origin])
    ranks, files = target // 9 - origin // 9, target % 9 - origin % 9
    if piece == KNIGHT or piece == _OTHER_KNIGHT:
        return abs(files) == 1 and ranks == (-2 if piece == KNIGHT else 2)
    distance = max(abs(ranks), abs(files))
    if distance == 0 or not (ranks == 0 or files == 0 or abs(ranks) == abs(files)):
        return False
    rank_step, file_step = ranks // distance, files // distance
    way = 0
    while _RANK_STEP[way] != rank_step or _FILE_STEP[way] != file_step:
        way += 1
    if distance == 1:
        return bool(_NEAR[piece] >> way & 1)
    if _SLIDES[piece] >> way & 1 == 0:
        return False
    for i in range(1, distance):
        if board_S[origin + i * (9 * rank_step + file_step)]:
            return False
    return True


@kernel
def _find(board_S: npt.NDArray[np.uint8], piece: int) -> int:
    for at in range(N_SQUARES):
        if board_S[at] == piece:
            return at
    return -1


@kernel
def _king_safe_after(
    board_S: npt.NDArray[np.uint8], origin: int, target: int, other: bool
) -> bool:
    """Move a piece, look whether its side's king can be taken, and move it back."""
    moved, taken = board_S[origin], board_S[target]
    board_S[origin], board_S[target] = EMPTY, moved
    king = _find(board_S, _OTHER_KING if other else KING)
    safe = not _attacked(board_S, king, not other)
    board_S[origin], board_S[target] = moved, taken
    return safe


@kernel
def _pawn_mates(board_S: npt.NDArray[np.uint8], target: int) -> bool:
    """Tell whether an own pawn that was dropped on a square has mated.

    Only the king's flight and the pawn's capture answer a check from the next square.
    """
    king = target - 9
    if king < 0 or board_S[king] != _OTHER_KING:
        return False
    for at in range(N_SQUARES):
        takes = board_S[at] > N_OWN and _reaches(board_S, at, target)
        if takes and _king_safe_after(board_S, at, target, True):
            return False
    for way in range(8):
        rank = king // 9 + _RANK_STEP[way]
        file = king % 9 + _FILE_STEP[way]
        if not (0 <= rank < 9 and 0 <= file < 9):
            continue
        free = board_S[9 * rank + file] <= N_OWN  # nothing, or a piece to take
        if free and _king_safe_after(board_S, king, 9 * rank + file, True):
            return False
    return True


@kernel
def _position_faults(board_S: npt.NDArray[np.uint8]) -> int:
    faults = 0
    if _attacked(board_S, _find(board_S, _OTHER_KING), False):
        faults |= KING_TAKEN
    for file in range(9):
        own = other = 0
        for rank in range(9):
            piece = board_S[9 * rank + file]
            own += piece == PAWN
            other += piece == _OTHER_PAWN
            stuck = (
                (rank == 0 and (piece == PAWN or piece == LANCE))
                or (rank <= 1 and piece == KNIGHT)
                or (rank == 8 and (piece == _OTHER_PAWN or piece == _OTHER_LANCE))
                or (rank >= 7 and piece == _OTHER_KNIGHT)
            )
            if stuck:
                faults |= STUCK_PIECE
        if own > 1 or other > 1:
            faults |= TWO_PAWNS
    return faults


@kernel
def _judge_drop(
    board_S: npt.NDArray[np.uint8],
    hand_H: npt.NDArray[np.uint8],
    kind: int,
    target: int,
) -> int:
    if hand_H[kind] == 0:
        return NOT_IN_HAND
    if board_S[target] != EMPTY:
        return OCCUPIED
    if kind == 0:
        for rank in range(9):
            if board_S[9 * rank + target % 9] == PAWN:
                return SECOND_PAWN
    board_S[target] = kind + 1
    status = LEGAL
    if _attacked(board_S, _find(board_S, KING), True):
        status = SELF_CHECK
    elif kind == 0 and _pawn_mates(board_S, target):
        status = PAWN_MATE
    board_S[target] = EMPTY
    return status


@kernel
def _judge_board_move(
    board_S: npt.NDArray[np.uint8], origin: int, target: int, promotes: int
) -> int:
    piece = signed(board_S[origin])
    if not _is_own(piece):
        return NO_PIECE
    if _is_own(signed(board_S[target])):
        return OCCUPIED
    if not _reaches(board_S, origin, target):
        return WRONG_WAY
    if promotes and not _PROMOTES[piece]:
        return WRONG_PROMOTION
    if not promotes and target < 9 and (piece == PAWN or piece == LANCE):
        return WRONG_PROMOTION
    return LEGAL if _king_safe_after(board_S, origin, target, False) else SELF_CHECK


@kernel
def judge_move(
    board_S: npt.NDArray[np.uint8],
    hand_H: npt.NDArray[np.uint8],
    move16: int,
    turn: int,
) -> int:
    """Judge one move: `LEGAL`, or a reason of `MOVE_TEXT`.

    Args:
        board_S: piece ids from the side to move, uint8 [81]; unchanged on return.
        hand_H: hand counts, uint8 [14].
        move16: the move, squares as on the real board.
        turn: 0 black, 1 white.
    """
    target, origin = move16 & 127, move16 >> 7 & 127
    promotes = move16 >> 14 & 1
    if move16 == 0 or (origin == target and origin < N_SQUARES):
        return NO_MOVE  # a pass, a resignation and the like have no way to go
    if move16 == OTHER_MOVE:
        return OTHER_CODING
    if target >= N_SQUARES or origin >= N_SQUARES + len(_DROP_KIND):
        return NO_SUCH_MOVE
    if turn == 1:
        target = 80 - target
        origin = 80 - origin if origin < N_SQUARES else origin
    if MOVE_LABEL[origin, target, promotes] < 0 or move16 >> 15:
        return NO_SUCH_MOVE
    if origin >= N_SQUARES:
        kind = _DROP_KIND[origin - N_SQUARES]
        return _judge_drop(board_S, hand_H, kind, _PLACE[target])
    return _judge_board_move(board_S, _PLACE[origin], _PLACE[target], promotes)


@kernel
def _judge_rows(
    board_BS: npt.NDArray[np.uint8],
    hand_BH: npt.NDArray[np.uint8],
    move_B: npt.NDArray[np.uint16],
    turn_B: npt.NDArray[np.uint8],
    verdicts: Verdicts,
) -> None:
    for i in range(len(move_B)):
        verdicts.fault_B[i] = _position_faults(board_BS[i])
        verdicts.move_B[i] = judge_move(
            board_BS[i], hand_BH[i], signed(move_B[i]), signed(turn_B[i])
        )


def judge_rows(
    board_BS: npt.NDArray[np.uint8],
    hand_BH: npt.NDArray[np.uint8],
    move_B: npt.NDArray[np.uint16],
    turn_B: npt.NDArray[np.uint8],
) -> Verdicts:
    """Judge positions and the move recorded with each.

    Args:
        board_BS: piece ids of validly coded positions, uint8 [B, 81].
        hand_BH: hand counts, uint8 [B, 14].
        move_B: move16, uint16 [B].
        turn_B: 0 black, 1 white, uint8 [B].
    """
    count = len(move_B)
    verdicts = Verdicts(
        np.empty(count, dtype=np.uint8), np.empty(count, dtype=np.uint8)
    )
    _judge_rows(board_BS, hand_BH, move_B, turn_B, verdicts)
    return verdicts
