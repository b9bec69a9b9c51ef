"""Boards on which moves are made, and their position codes: compiled kernels.

A board here is a real one, not turned to the side to move: uint8 [81] by square, kinds
as in apery (P L N S B R G K, the promoted ones at + 8, white at + 16). Hands are uint8
[2, 8], counts by colour and kind.

A coded move is a move16 (bits 0-6 destination, 7-13 origin or 81 + dropped piece, 14
promotion), or, out of CSA, the same without bit 14 and with the piece after the move
in bits 16-19, since CSA does not say whether a move promotes.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from maou.shogi.compiled import inlined, kernel, signed
from maou.shogi.hcp import BOARD_CODE, HAND_CODE, HCP_BYTES, TARGET, VALID, decode_row
from maou.shogi.pieces import DROP_ORIGINS, HAND_SIZE, KINDS, N_OWN
from maou.shogi.squares import N_SQUARES

_KING, _GOLD, _LAST_KIND = 8, 7, 7
WHITE = 16

_OURS = {DROP_ORIGINS.index(name) + 1: at for at, name in enumerate(KINDS)}
_BOARD_CODE = {kind: BOARD_CODE[at] for kind, at in _OURS.items()}
_HAND_CODE = {kind: HAND_CODE[at] for kind, at in _OURS.items()}
_HAND_ORDER = np.array(list(_OURS))


def _kind_table() -> npt.NDArray[np.uint8]:
    """Tabulate apery's kind by own piece id, uint8 [15]."""
    kinds = np.arange(N_OWN + 1, dtype=np.uint8)
    kinds[[at + 1 for at in _OURS.values()]] = list(_OURS)
    return kinds


_KINDS = _kind_table()


def _board_table() -> npt.NDArray[np.uint16]:
    table = np.zeros(32, dtype=np.uint16)  # value | bits << 8
    table[0] = 1 << 8
    for kind, (value, bits) in _BOARD_CODE.items():
        for white in (0, 1):
            colour = white << (bits - 1 if kind == _GOLD else bits - 2)
            table[kind + WHITE * white] = value | colour | bits << 8
            if kind != _GOLD:
                promoted = value | colour | 1 << (bits - 1)
                table[kind + 8 + WHITE * white] = promoted | bits << 8
    return table


def _hand_table() -> npt.NDArray[np.uint16]:
    table = np.zeros((2, 8), dtype=np.uint16)
    for kind, (value, bits) in _HAND_CODE.items():
        for white in (0, 1):
            table[white, kind] = value | white << (bits - 1) | bits << 8
    return table


_BOARD_TABLE, _HAND_TABLE = _board_table(), _hand_table()


@kernel
def set_up(
    code: npt.NDArray[np.uint8],
    board: npt.NDArray[np.uint8],
    hands: npt.NDArray[np.uint8],
) -> int:
    """Set up the position of a code; return its status, `VALID` or a `BAD_` constant.

    Args:
        code: uint8 [32 or more], a position code; its first bit is the turn.
        board: uint8 [81], overwritten.
        hands: uint8 [2, 8], overwritten.
    """
    seen_S = np.empty(N_SQUARES, dtype=np.uint8)
    seen_H = np.empty(HAND_SIZE, dtype=np.uint8)
    status = decode_row(code, seen_S, seen_H)
    if status != VALID:
        return status
    turn = signed(code[0] & 1)
    for square in range(N_SQUARES):
        piece = signed(seen_S[TARGET[turn, square]])
        if piece > N_OWN:
            board[square] = _KINDS[piece - N_OWN] + WHITE * (1 - turn)
        else:
            board[square] = _KINDS[piece] + WHITE * turn * (piece > 0)
    for slot in range(7):
        kind = signed(_KINDS[slot + 1])
        hands[turn, kind] = seen_H[slot]
        hands[1 - turn, kind] = seen_H[slot + 7]
    return VALID


@kernel
def can_play(
    board: npt.NDArray[np.uint8],
    hands: npt.NDArray[np.uint8],
    turn: int,
    move16: int,
) -> bool:
    """Tell whether a move16 can be made so that a position with all pieces follows.

    How the piece moves, checks and two pawns are not looked at: that is `legality`'s.
    """
    to, origin, promotes = move16 & 127, move16 >> 7 & 127, move16 >> 14
    if to >= N_SQUARES or promotes > 1:
        return False
    taken = signed(board[to])
    if origin >= N_SQUARES:
        kind = origin - 80
        if kind > _LAST_KIND or promotes or taken:
            return False
        return bool(hands[turn, kind] > 0)
    piece = signed(board[origin])
    if piece == 0 or piece >> 4 != turn or (promotes and piece & 15 >= _GOLD):
        return False
    return taken == 0 or (taken >> 4 != turn and taken & 15 != _KING)


@inlined
def flush_word(row: npt.NDArray[np.uint8], at: int, word: int) -> int:
    """Write four bytes where they fit; return the place after them."""
    for i in range(4):
        if at < HCP_BYTES:
            row[at] = word >> 8 * i & 255
        at += 1
    return at


@kernel
def code_position(
    board: npt.NDArray[np.uint8],
    hands: npt.NDArray[np.uint8],
    turn: int,
    row: npt.NDArray[np.uint8],
) -> bool:
    """Write one position code; tell whether it came to exactly 256 bits."""
    kings = np.zeros(2, dtype=np.int64)
    for square in range(81):
        if board[square] & 15 == _KING:
            kings[board[square] >> 4] = square
    word = turn | kings[0] << 1 | kings[1] << 8
    used: Any = 15  # bits in the word
    at = 0  # bytes written
    for square in range(81):
        piece = board[square]
        if piece & 15 != _KING:
            symbol = np.int64(_BOARD_TABLE[piece])
            word |= (symbol & 255) << used
            used += symbol >> 8
            if used >= 32:
                at = flush_word(row, at, word)
                word >>= 32
                used -= 32
    for colour in range(2):
        for kind in _HAND_ORDER:
            symbol = np.int64(_HAND_TABLE[colour, kind])
            for _ in range(hands[colour, kind]):
                word |= (symbol & 255) << used
                used += symbol >> 8
                if used >= 32:
                    at = flush_word(row, at, word)
                    word >>= 32
                    used -= 32
    return bool(at == HCP_BYTES and used == 0)


@kernel
def play(
    board: npt.NDArray[np.uint8],
    hands: npt.NDArray[np.uint8],
    turn: int,
    code: Any,
) -> Any:
    """Make a coded move; return its move16."""
    to, origin, after = code & 127, code >> 7 & 127, code >> 16
    if origin > 80:
        kind = origin - 80
        hands[turn, kind] -= 1
    else:
        kind = np.int64(board[origin]) & 15
        if after and after != kind:
            code |= 1 << 14
        if code >> 14 & 1:
            kind += 8
        taken = np.int64(board[to]) & 15
        if taken:
            hands[turn, taken - 8 if taken > _KING else taken] += 1
        board[origin] = 0
    board[to] = kind + WHITE * turn
    return code
