"""The Huffman-coded position (hcp): 256 bits for a position with all 40 pieces.

Bits run from the least significant of each byte: turn 1, black king 7, white king 7,
the squares without the kings in square order, then the hands, black before white, in
the order P L N S G B R. Because each kind's code has one length on the board and one
in hand that differ by a constant, every position with a full set takes exactly 256
bits; that and the counts of each kind are what validity means here.

Kernels read a code as eight 32-bit words through a 64-bit buffer and take whole
symbols from a table of 256 entries (the longest board symbol has 8 bits).
"""

import numpy as np
import numpy.typing as npt

from maou.shogi.compiled import inlined, kernel, over_rows, signed
from maou.shogi.pieces import (
    EMPTY,
    GOLD,
    HAND_SIZE,
    KIND_COUNTS,
    KIND_IDS,
    KINDS,
    KING,
    N_OWN,
    PROMOTED,
)
from maou.shogi.squares import BOARD_INDEX, N_SQUARES

HCP_BYTES = 32
HCP_BITS = 8 * HCP_BYTES

VALID = 0
BAD_KING = 1
BAD_CODE = 2
BAD_COUNT = 3

STATUS_TEXT = {
    BAD_KING: "a king is off the board or both kings share a square",
    BAD_CODE: "the position code does not end after 256 bits",
    BAD_COUNT: "the pieces are not one full set (a handicap position cannot be coded)",
}
"""What a kernel's non-zero position status means, for error messages."""

BOARD_CODE = (  # of P L N S G B R: (value, bits with colour and promotion)
    (0b1, 4),
    (0b11, 6),
    (0b111, 6),
    (0b1011, 6),
    (0b1111, 6),
    (0b11111, 8),
    (0b111111, 8),
)
HAND_CODE = (  # of P L N S G B R: (value, bits with colour)
    (0b0, 3),
    (0b1, 5),
    (0b11, 5),
    (0b101, 5),
    (0b111, 5),
    (0b11111, 7),
    (0b111111, 7),
)


def board_symbols() -> list[tuple[int, int, int, int, int]]:
    """List every board symbol: (value, bits, kind index, promoted, white)."""
    symbols = []
    for index, (value, bits) in enumerate(BOARD_CODE):
        kind = KIND_IDS[index]
        for white in (0, 1):
            if kind == GOLD:
                symbols.append((value | white << 5, bits, index, 0, white))
                continue
            for promoted in (0, 1):
                code = value | white << (bits - 2) | promoted << (bits - 1)
                symbols.append((code, bits, index, promoted, white))
    return symbols


def _piece_id(index: int, promoted: int, opponent: int) -> int:
    kind = KIND_IDS[index]
    return (PROMOTED[kind] if promoted else kind) + N_OWN * opponent


# A table entry packs: bits 0-7 symbol length, 8-15 piece id (or hand index), and from
# bit 16 on seven 6-bit counters, one for each kind, of which one is set to 1.
COUNT_SHIFT = 16
FULL_SET = sum(n << (6 * i) for i, n in enumerate(KIND_COUNTS))


def table_entry(length: int, value: int, index: int | None) -> int:
    """Pack a symbol's length, what it stands for, and its kind, if it is a piece."""
    count = 0 if index is None else 1 << (COUNT_SHIFT + 6 * index)
    return length | value << 8 | count


def fill_table(table: npt.NDArray[np.uint64], code: int, bits: int, entry: int) -> None:
    """Set every entry whose low `bits` bits are `code`."""
    table[code :: 1 << bits] = entry


def _build_tables() -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """Build the symbol tables, uint64 [turn, 256], of the board and of the hands."""
    board = np.zeros((2, 256), dtype=np.uint64)
    hand = np.zeros((2, 256), dtype=np.uint64)
    for turn in (0, 1):
        fill_table(board[turn], 0, 1, table_entry(1, EMPTY, None))
        for code, bits, index, promoted, white in board_symbols():
            piece = _piece_id(index, promoted, white ^ turn)
            fill_table(board[turn], code, bits, table_entry(bits, piece, index))
        for index, (value, bits) in enumerate(HAND_CODE):
            for white in (0, 1):
                slot = index + len(KINDS) * (white ^ turn)
                code = value | white << (bits - 1)
                fill_table(hand[turn], code, bits, table_entry(bits, slot, index))
    return board, hand


_BOARD_TABLE, _HAND_TABLE = _build_tables()

TARGET = np.stack([BOARD_INDEX, 80 - BOARD_INDEX]).astype(np.uint8)
"""Board index of each square, by turn (white to move rotates the board)."""


def _build_encoder() -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint16]]:
    """Build code | bits << 8 by piece id, and by hand slot, for the side to move."""
    board = np.zeros(2 * N_OWN + 1, dtype=np.uint16)
    board[EMPTY] = 1 << 8
    for code, bits, index, promoted, white in board_symbols():
        board[_piece_id(index, promoted, white)] = code | bits << 8
    hand = np.zeros(HAND_SIZE, dtype=np.uint16)
    for index, (value, bits) in enumerate(HAND_CODE):
        for white in (0, 1):
            slot = index + len(KINDS) * white
            hand[slot] = value | white << (bits - 1) | bits << 8
    return board, hand


_BOARD_CODES, _HAND_CODES = _build_encoder()


@inlined
def read_word(row: npt.NDArray[np.uint8], at: int) -> np.uint64:
    """Read four bytes, the least significant first."""
    return (
        np.uint64(row[at])
        | np.uint64(row[at + 1]) << np.uint64(8)
        | np.uint64(row[at + 2]) << np.uint64(16)
        | np.uint64(row[at + 3]) << np.uint64(24)
    )


@kernel
def decode_row(
    row: npt.NDArray[np.uint8],
    board_S: npt.NDArray[np.uint8],
    hand_H: npt.NDArray[np.uint8],
) -> int:
    """Decode one position code; return its status (`VALID` or a `BAD_` constant).

    Args:
        row: uint8 [32 or more]; the code is the first 32 bytes.
        board_S: uint8 [81], overwritten with piece ids from the side to move.
        hand_H: uint8 [14], overwritten with hand counts.
    """
    buffer = read_word(row, 0) | read_word(row, 4) << np.uint64(32)
    turn = signed(buffer & np.uint64(1))
    black = signed(buffer >> np.uint64(1) & np.uint64(127))
    white = signed(buffer >> np.uint64(8) & np.uint64(127))
    hand_H[:] = 0
    if black >= N_SQUARES or white >= N_SQUARES or black == white:
        board_S[:] = 0
        return BAD_KING
    buffer >>= np.uint64(15)
    held = 49
    at = 8
    used = 15
    counts = np.uint64(0)
    table = _BOARD_TABLE[turn]
    target = TARGET[turn]
    for square in range(N_SQUARES):
        if square == black or square == white:
            continue
        if held < 8 and at < 32:
            buffer |= read_word(row, at) << np.uint64(held)
            held += 32
            at += 4
        entry = table[signed(buffer & np.uint64(255))]
        bits = signed(entry & np.uint64(255))
        board_S[target[square]] = np.uint8(entry >> np.uint64(8) & np.uint64(255))
        counts += entry >> np.uint64(COUNT_SHIFT)
        buffer >>= np.uint64(bits)
        held -= bits
        used += bits
    board_S[target[black]] = KING + N_OWN * turn
    board_S[target[white]] = KING + N_OWN * (1 - turn)
    table = _HAND_TABLE[turn]
    while used < HCP_BITS:
        if held < 8 and at < 32:
            buffer |= read_word(row, at) << np.uint64(held)
            held += 32
            at += 4
        entry = table[signed(buffer & np.uint64(255))]
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
    return VALID if counts == np.uint64(FULL_SET) else BAD_COUNT


@kernel
def _decode_range(
    codes: npt.NDArray[np.uint8],
    board_BS: npt.NDArray[np.uint8],
    hand_BH: npt.NDArray[np.uint8],
    status_B: npt.NDArray[np.uint8],
    start: int,
    stop: int,
) -> None:
    for i in range(start, stop):
        status_B[i] = decode_row(codes[i], board_BS[i], hand_BH[i])


def decode_hcp(
    codes: npt.NDArray[np.uint8], threads: int = 1
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Decode position codes to what a network sees.

    Args:
        codes: uint8 [B, 32 or more], one code in the first 32 bytes of each row.
        threads: how many threads share the rows.

    Returns:
        Piece ids uint8 [B, 81] and hand counts uint8 [B, 14] from the side to move,
        and the status uint8 [B]: `VALID`, or the reason in `STATUS_TEXT`. Arrays of
        an invalid row hold nothing of meaning.
    """
    rows = len(codes)
    board_BS = np.empty((rows, N_SQUARES), dtype=np.uint8)
    hand_BH = np.empty((rows, HAND_SIZE), dtype=np.uint8)
    status_B = np.empty(rows, dtype=np.uint8)
    over_rows(
        lambda a, b: _decode_range(codes, board_BS, hand_BH, status_B, a, b),
        rows,
        threads,
    )
    return board_BS, hand_BH, status_B


@kernel
def _put(row: npt.NDArray[np.uint8], at: int, code: int, bits: int) -> int:
    """Write a symbol at a bit position; return the position after it.

    Bits behind `at` must be zero; those behind the row's end are dropped.
    """
    byte = at >> 3
    value = code << (at & 7)
    while value and byte < HCP_BYTES:
        row[byte] |= np.uint8(value & 255)
        value >>= 8
        byte += 1
    return at + bits


@kernel
def encode_row(
    board_S: npt.NDArray[np.uint8],
    hand_H: npt.NDArray[np.uint8],
    row: npt.NDArray[np.uint8],
) -> int:
    """Code one position, the side to move as black; return its status.

    Args:
        board_S: uint8 [81], piece ids from the side to move.
        hand_H: uint8 [14], hand counts.
        row: uint8 [32], overwritten with the code.
    """
    target = TARGET[0]
    row[:] = 0
    own_king = other_king = 127
    for square in range(N_SQUARES):
        piece = board_S[target[square]]
        if piece == KING:
            own_king = square
        elif piece == KING + N_OWN:
            other_king = square
    if own_king == 127 or other_king == 127:
        return BAD_KING
    at = _put(row, 1, own_king, 7)
    at = _put(row, at, other_king, 7)
    for square in range(N_SQUARES):
        if square != own_king and square != other_king:
            code = signed(_BOARD_CODES[board_S[target[square]]])
            at = _put(row, at, code & 255, code >> 8)
    for slot in range(HAND_SIZE):
        code = signed(_HAND_CODES[slot])
        for _ in range(hand_H[slot]):
            at = _put(row, at, code & 255, code >> 8)
    return VALID if at == HCP_BITS else BAD_COUNT


@kernel
def _encode_range(
    board_BS: npt.NDArray[np.uint8],
    hand_BH: npt.NDArray[np.uint8],
    codes: npt.NDArray[np.uint8],
    status_B: npt.NDArray[np.uint8],
) -> None:
    for i in range(len(codes)):
        status_B[i] = encode_row(board_BS[i], hand_BH[i], codes[i])


def encode_hcp(
    board_BS: npt.NDArray[np.uint8], hand_BH: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Code positions, the side to move as black: the inverse of `decode_hcp`.

    Positions that are equal from the side to move get the same code, whichever
    colour was to move.

    Args:
        board_BS: piece ids 0..28, uint8 [B, 81].
        hand_BH: hand counts, uint8 [B, 14].

    Returns:
        Codes uint8 [B, 32] and status uint8 [B]: `BAD_KING` where a king is missing,
        `BAD_COUNT` where the pieces are not a full set.
    """
    codes = np.empty((len(board_BS), HCP_BYTES), dtype=np.uint8)
    status_B = np.empty(len(board_BS), dtype=np.uint8)
    _encode_range(board_BS, hand_BH, codes, status_B)
    return codes, status_B
