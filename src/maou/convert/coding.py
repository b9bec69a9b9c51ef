"""Compiled kernels: moves and evaluations out of CSA text, and position codes.

They run on games that rsshogi has read and found legal, and repeat none of its checks.
A coded move is a move16 (bits 0-6 destination, 7-13 origin or 81 + dropped piece, 14
promotion), or, out of CSA, the same without bit 14 and with the piece after the move
in bits 16-19, since CSA does not say whether a move promotes.
"""

import functools
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from rsshogi.core import Move

from maou.shogi.compiled import kernel
from maou.shogi.playing import WHITE, code_position, play

_LETTERS = "PLNSBRGK"
_CSA_PIECES = "FUKYKEGIKAHIKIOUTONYNKNGUMRY"
_CSA_KINDS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14)

EVAL_LIMIT = 32767


class Start(NamedTuple):
    """A start position.

    Attributes:
        board: uint8 [81], kinds by square ((file - 1) * 9 + rank - 1).
        hands: uint8 [2, 8], counts by colour and kind.
        turn: 0 black, 1 white.
    """

    board: npt.NDArray[np.uint8]
    hands: npt.NDArray[np.uint8]
    turn: int


def _piece_table() -> npt.NDArray[np.uint8]:
    table = np.zeros((32, 32), dtype=np.uint8)  # by CSA's two letters, A = 1
    for i, kind in enumerate(_CSA_KINDS):
        first, second = ord(_CSA_PIECES[2 * i]), ord(_CSA_PIECES[2 * i + 1])
        table[first - 64, second - 64] = kind
    return table


_PIECE_TABLE = _piece_table()


@functools.lru_cache(maxsize=64)
def start_of_sfen(sfen: str) -> Start:
    """Read a start position with two kings from its sfen; do not change it."""
    board = np.zeros((9, 9), dtype=np.uint8)  # [file, rank]
    hands = np.zeros((2, 8), dtype=np.uint8)
    squares, turn, held, *_ = sfen.split(" ")
    for rank, row in enumerate(squares.split("/")):
        file, promoted = 8, 0
        for char in row:
            if char == "+":
                promoted = 8
            elif char.isdigit():
                file -= int(char)
            else:
                kind = _LETTERS.index(char.upper()) + 1 + promoted
                board[file, rank] = kind + WHITE * char.islower()
                file, promoted = file - 1, 0
    number = ""
    for char in held.replace("-", ""):
        if char.isdigit():
            number += char
        else:
            kind = _LETTERS.index(char.upper()) + 1
            hands[int(char.islower()), kind] = int(number or 1)
            number = ""
    return Start(board.reshape(-1), hands, int(turn == "w"))


@kernel
def scan_csa(
    text: npt.NDArray[np.uint8],
    moves: npt.NDArray[np.uint32],
    evals: npt.NDArray[np.int32],
) -> tuple[int, int, bool]:
    """Read the moves of a CSA text, one a line, and the evaluation after each.

    Args:
        text: uint8 [bytes], the text of one game.
        moves: uint32 [plies], filled with coded moves.
        evals: int32 [plies], black's view, clamped to +-32767; stays 0 without one.

    Returns:
        Number of moves, number of evaluations that were read, and whether every line
        that begins like a move is one move and nothing but its time.
    """
    size, plies, read, at = len(text), 0, 0, 0
    plain = True
    while at < size:
        first = text[at]  # 43 is +, 45 -, 39 ', 42 *
        if first in (43, 45) and at + 1 < size and text[at + 1] > 32:
            good = at + 7 < size and (text[at + 7] <= 32 or text[at + 7] == 44)
            for i in range(1, 7):
                low, high = (48, 57) if i < 5 else (65, 90)
                good = good and low <= text[at + i] <= high
            plain = plain and good
            if good and plies < len(moves):
                file = np.int64(text[at + 1]) - 48
                rank = np.int64(text[at + 2]) - 48
                to = (np.int64(text[at + 3]) - 49) * 9 + np.int64(text[at + 4]) - 49
                piece = np.int64(_PIECE_TABLE[text[at + 5] & 31, text[at + 6] & 31])
                origin = (file - 1) * 9 + rank - 1 if file else 80 + piece
                moves[plies] = to | origin << 7 | piece << 16
            plies += 1
            at += 7
            while at < size and text[at] != 10:  # a time, or another statement
                plain = plain and text[at] not in (37, 43, 45)
                at += 1
        elif first == 39 and at + 2 < size and text[at + 1] == 42 == text[at + 2]:
            at += 3
            while at < size and (text[at] == 32 or text[at] == 9):
                at += 1
            sign: Any = 1
            value: Any = 0
            digits = 0
            if at < size and (text[at] == 43 or text[at] == 45):
                sign = 44 - np.int64(text[at])
                at += 1
            while at < size and 48 <= text[at] <= 57:
                value = min(EVAL_LIMIT, value * 10 + np.int64(text[at]) - 48)
                digits += 1
                at += 1
            if digits and at < size and text[at] <= 32 and 0 < plies <= len(moves):
                evals[plies - 1] = sign * value
                read += 1
        while at < size and text[at] != 10:
            at += 1
        at += 1
    return plies, read, plain


@kernel
def code_positions(
    board: npt.NDArray[np.uint8],
    hands: npt.NDArray[np.uint8],
    turn: int,
    moves: npt.NDArray[np.uint32],
    rows: npt.NDArray[np.uint8],
) -> bool:
    """Play moves and write each position before its move, and the move16.

    Args:
        board: uint8 [81], the start position; changed.
        hands: uint8 [2, 8]; changed.
        turn: 0 black, 1 white.
        moves: uint32 [plies], coded moves.
        rows: uint8 [plies, 38], raw records; bytes 0-31 and 34-35 are filled.

    Returns:
        Whether every position code came to exactly 256 bits, as it must.
    """
    whole = True
    for ply in range(len(moves)):
        row = rows[ply]
        whole = code_position(board, hands, turn, row) and whole
        code = play(board, hands, turn, np.int64(moves[ply]))
        row[34], row[35] = code & 255, code >> 8 & 255
        turn = 1 - turn
    return whole


def coded_moves(moves: list[Move]) -> npt.NDArray[np.uint32]:
    """Turn rsshogi's moves into coded moves.

    rsshogi too holds the destination in bits 0-6 and the origin in bits 7-13. It marks
    a drop with bit 14 and counts the dropped piece from 1 where a move16 counts from
    81; it marks a promotion with bit 15 where a move16 has bit 14.
    """
    values = np.array([move.value for move in moves], dtype=np.uint32)
    low, drop = values & 0x3FFF, (values & 0x4000) != 0
    return np.where(drop, low + (80 << 7), low | (values & 0x8000) >> 1)
