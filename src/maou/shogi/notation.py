"""sfen and USI text of one position or move, for messages: not for speed.

rsshogi refuses positions that cannot occur, and those are the ones to show.
"""

import numpy as np
import numpy.typing as npt

from maou.shogi.pieces import (
    DROP_ORIGINS,
    EMPTY,
    KIND_IDS,
    KINDS,
    KING,
    N_OWN,
    PROMOTED,
)
from maou.shogi.squares import N_SQUARES, square_name

_LETTERS = {**dict(zip(KIND_IDS, KINDS, strict=True)), KING: "K"}
_LETTERS |= {promoted: f"+{_LETTERS[kind]}" for kind, promoted in PROMOTED.items()}
_HAND_ORDER = "RBGSNLP"


def sfen_of(
    board_S: npt.NDArray[np.uint8], hand_H: npt.NDArray[np.uint8], turn: int
) -> str:
    """Write a position as sfen, with move number 1.

    Args:
        board_S: piece ids from the side to move, uint8 [81].
        hand_H: hand counts, uint8 [14].
        turn: 0 black, 1 white to move.
    """
    board = np.asarray(board_S)[::-1] if turn else np.asarray(board_S)
    ranks = []
    for rank in board.reshape(9, 9):
        text, gap = "", 0
        for piece in rank[::-1].tolist():
            if piece == EMPTY:
                gap += 1
                continue
            text += f"{gap or ''}{_letter(piece, turn)}"
            gap = 0
        ranks.append(f"{text}{gap or ''}")
    hands = "".join(
        _held(int(hand_H[KINDS.index(kind) + 7 * (white ^ turn)]), kind, white)
        for white in (0, 1)
        for kind in _HAND_ORDER
    )
    return f"{'/'.join(ranks)} {'bw'[turn]} {hands or '-'} 1"


def _letter(piece: int, turn: int) -> str:
    opponent = piece > N_OWN
    letter = _LETTERS[piece - N_OWN if opponent else piece]
    return letter.lower() if opponent != bool(turn) else letter


def _held(count: int, kind: str, white: int) -> str:
    if not count:
        return ""
    return f"{count if count > 1 else ''}{kind.lower() if white else kind}"


def usi_of(move16: int) -> str:
    """Write a move16 in USI; what has no such form is written as a number."""
    target, origin = move16 & 127, move16 >> 7 & 127
    if move16 == 0 or target == origin < N_SQUARES:
        return f"none ({move16:#06x})" if move16 else "none"
    if target >= N_SQUARES or origin >= N_SQUARES + len(DROP_ORIGINS):
        return f"{move16:#06x}"
    if origin >= N_SQUARES:
        return f"{DROP_ORIGINS[origin - N_SQUARES]}*{square_name(target)}"
    return (
        f"{square_name(origin)}{square_name(target)}{'+' if move16 >> 14 & 1 else ''}"
    )
