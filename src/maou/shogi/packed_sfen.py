"""YaneuraOu's packed sfen: another coding of a position in 256 bits, made into an hcp.

It is the position code of `hcp` with knight and silver exchanged, other codes of bishop
and rook in hand, and the promotion bit below the colour bit. Every symbol is as long as
the one it stands for, so the board is rewritten symbol by symbol in place; the hands
come in any order and are put into that of `hcp`. Pieces that are missing from a
handicap position have symbols too, which no hcp has: it gets the status `BAD_COUNT`.
(YaneuraOu, source/packedSfen.cpp.)
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from maou.shogi.compiled import kernel, signed
from maou.shogi.hcp import (
    BAD_CODE,
    BAD_COUNT,
    BAD_KING,
    BOARD_CODE,
    COUNT_SHIFT,
    FULL_SET,
    HAND_CODE,
    HCP_BITS,
    HCP_BYTES,
    VALID,
    board_symbols,
    fill_table,
    read_word,
    table_entry,
)
from maou.shogi.pieces import DROP_ORIGINS, HAND_SIZE, KINDS
from maou.shogi.playing import flush_word
from maou.shogi.squares import N_SQUARES

_THEIRS = {"N": "S", "S": "N"}
"""Whose symbol of `hcp` stands for a kind on the board."""

_HAND_CODE = (  # of P L N S G B R: (value, bits with colour)
    (0b0, 3),
    (0b1, 5),
    (0b101, 5),
    (0b11, 5),
    (0b111, 5),
    (0b1111, 7),
    (0b11111, 7),
)
_BOX_CODE = (  # of P L N S G B R that are missing: (value, bits)
    (0b10, 3),
    (0b1001, 5),
    (0b1101, 5),
    (0b1011, 5),
    (0b11011, 5),
    (0b101111, 7),
    (0b111111, 7),
)
_MISSING = HAND_SIZE


def _build_tables() -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """Tabulate symbols, uint64 [256] of board and hands: the hcp's code, the slot."""
    board = np.zeros(256, dtype=np.uint64)
    hand = np.zeros(256, dtype=np.uint64)
    fill_table(board, 0, 1, table_entry(1, 0, None))
    for code, bits, index, promoted, white in board_symbols():
        kind = KINDS[index]
        value, _ = BOARD_CODE[KINDS.index(_THEIRS.get(kind, kind))]
        value |= white << (bits - 1)
        if kind != "G":
            value |= promoted << (bits - 2)
        fill_table(board, value, bits, table_entry(bits, code, index))
    for index, (value, bits) in enumerate(_HAND_CODE):
        for white in (0, 1):
            slot = index + len(KINDS) * white
            code = value | white << (bits - 1)
            fill_table(hand, code, bits, table_entry(bits, slot, index))
    for value, bits in _BOX_CODE:
        fill_table(hand, value, bits, table_entry(bits, _MISSING, None))
    return board, hand


_BOARD_TABLE, _HAND_TABLE = _build_tables()

_HAND_CODES = np.array(
    [
        [value | white << (bits - 1), bits]
        for white in (0, 1)
        for value, bits in HAND_CODE
    ]
)
"""The hcp's code and bits by hand slot, black's before white's, int64 [14, 2]."""

_TWO_KINGS = 1 << 8  # black's on square 0, white's on 1; then nothing but zero bits


def _damaged_codes() -> npt.NDArray[np.uint8]:
    """Make an hcp of each status, uint8 [4, 32], to stand for what has none."""
    codes = np.zeros((4, HCP_BYTES), dtype=np.uint8)
    codes[BAD_KING] = 255
    codes[BAD_COUNT, :2] = codes[BAD_CODE, :2] = list(_TWO_KINGS.to_bytes(2, "little"))
    codes[BAD_CODE, -1] = 0b100  # 52 pawns, a lance, and a pawn past the end
    return codes


_DAMAGED = _damaged_codes()

OTHER_MOVE = 0xFFFF
"""The move16 of a move that is not coded as YaneuraOu does; no move has it."""


@kernel
def hcp_of_packed_sfen(code: npt.NDArray[np.uint8], row: npt.NDArray[np.uint8]) -> int:
    """Rewrite a packed sfen as the hcp of the same position; return its status.

    Args:
        code: uint8 [32 or more]; the packed sfen is the first 32 bytes.
        row: uint8 [32 or more]; the first 32 bytes are overwritten. A code that is not
            `VALID` becomes an hcp that has the same status.
    """
    status = _rewrite(code, row)
    if status != VALID:
        row[:HCP_BYTES] = _DAMAGED[status]
    return status


@kernel
def _rewrite(code: npt.NDArray[np.uint8], row: npt.NDArray[np.uint8]) -> int:
    buffer = read_word(code, 0) | read_word(code, 4) << np.uint64(32)
    black = signed(buffer >> np.uint64(1) & np.uint64(127))
    white = signed(buffer >> np.uint64(8) & np.uint64(127))
    if black >= N_SQUARES or white >= N_SQUARES or black == white:
        return BAD_KING
    word = signed(buffer & np.uint64(0x7FFF))  # turn and kings are the same
    buffer >>= np.uint64(15)
    held: Any = 49
    at = 8
    used = filled = 15
    made = 0
    counts = np.uint64(0)
    for _ in range(N_SQUARES - 2):
        if held < 8 and at < HCP_BYTES:
            buffer |= read_word(code, at) << np.uint64(held)
            held += 32
            at += 4
        entry = _BOARD_TABLE[signed(buffer & np.uint64(255))]
        bits = signed(entry & np.uint64(255))
        word |= signed(entry >> np.uint64(8) & np.uint64(255)) << filled
        counts += entry >> np.uint64(COUNT_SHIFT)
        buffer >>= np.uint64(bits)
        held -= bits
        used += bits
        filled += bits
        if filled >= 32:
            made = flush_word(row, made, word)
            word >>= 32
            filled -= 32
    hand_H = np.zeros(HAND_SIZE + 1, dtype=np.int64)
    while used < HCP_BITS:
        if held < 8 and at < HCP_BYTES:
            buffer |= read_word(code, at) << np.uint64(held)
            held += 32
            at += 4
        entry = _HAND_TABLE[signed(buffer & np.uint64(255))]
        bits = signed(entry & np.uint64(255))
        if bits == 0:
            return BAD_CODE
        hand_H[signed(entry >> np.uint64(8) & np.uint64(255))] += 1
        counts += entry >> np.uint64(COUNT_SHIFT)
        buffer >>= np.uint64(bits)
        held -= bits
        used += bits
    if used != HCP_BITS:
        return BAD_CODE
    if counts != np.uint64(FULL_SET):
        return BAD_COUNT
    for slot in range(HAND_SIZE):
        symbol, bits = _HAND_CODES[slot, 0], _HAND_CODES[slot, 1]
        for _ in range(hand_H[slot]):
            word |= symbol << filled
            filled += bits
            if filled >= 32:
                made = flush_word(row, made, word)
                word >>= 32
                filled -= 32
    return VALID


@kernel
def move16_of_packed(move: int) -> int:
    """Turn YaneuraOu's 16 bits of a move into a move16.

    Bits 0-6 destination, 7-13 origin or the dropped piece (1..7 in the order of
    `DROP_ORIGINS`), 14 drop, 15 promotion. What says no move (a pass, a resignation)
    stays as it is; what cannot be so coded becomes `OTHER_MOVE`.
    """
    to, origin = move & 127, move >> 7 & 127
    drops, promotes = move >> 14 & 1, move >> 15
    if to >= N_SQUARES:
        return OTHER_MOVE
    if drops:
        if promotes or not 1 <= origin <= len(DROP_ORIGINS):
            return OTHER_MOVE
        return to | (N_SQUARES - 1 + origin) << 7
    if origin >= N_SQUARES:
        return OTHER_MOVE
    return to | origin << 7 | promotes << 14
