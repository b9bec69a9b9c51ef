"""How many validation positions also occur in training.

Games share openings, so a split by game still leaves some validation positions known.
Positions are compared from the side to move, by a 64-bit hash of pieces and hands.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maou.data.rows import SideRows
from maou.records.keys import mix
from maou.shogi.compiled import kernel

_PIECE_ROWS = 1 << 17

SAMPLE_ROWS = 4_000_000
"""About so many validation rows are looked at, at most."""


@kernel
def _hash_positions(
    board_BS: npt.NDArray[np.uint8],
    hand_BH: npt.NDArray[np.uint8],
    out: npt.NDArray[np.uint64],
) -> None:
    for i in range(len(out)):
        value = np.uint64(0)
        for s in range(81):
            if board_BS[i, s]:
                value ^= mix(np.uint64(s * 32 + board_BS[i, s]))
        for h in range(14):
            if hand_BH[i, h]:
                value ^= mix(np.uint64(4096 + h * 32 + hand_BH[i, h]))
        out[i] = value


@kernel
def _insert(table: npt.NDArray[np.uint64], hashes: npt.NDArray[np.uint64]) -> None:
    mask = np.uint64(len(table) - 1)
    for i in range(len(hashes)):
        at = hashes[i] & mask
        while table[at] != 0 and table[at] != hashes[i]:
            at = (at + np.uint64(1)) & mask
        table[at] = hashes[i]


@kernel
def _mark(
    table: npt.NDArray[np.uint64],
    hashes: npt.NDArray[np.uint64],
    seen: npt.NDArray[np.bool_],
) -> None:
    mask = np.uint64(len(table) - 1)
    for i in range(len(hashes)):
        at = hashes[i] & mask
        while table[at] != 0:
            if table[at] == hashes[i]:
                seen[at] = True
                break
            at = (at + np.uint64(1)) & mask


@kernel
def _count(
    table: npt.NDArray[np.uint64],
    seen: npt.NDArray[np.bool_],
    hashes: npt.NDArray[np.uint64],
) -> int:
    mask = np.uint64(len(table) - 1)
    known = 0
    for i in range(len(hashes)):
        at = hashes[i] & mask
        while table[at] != hashes[i]:
            at = (at + np.uint64(1)) & mask
        known += seen[at]
    return known


def position_hashes(side: SideRows, first: int, last: int) -> npt.NDArray[np.uint64]:
    """Hash the positions of blocks [first, last) from the side to move, uint64 [n]."""
    rows = side.read_all(np.arange(first, last))
    board_BS, hand_BH = side.kind.positions(rows)
    out = np.empty(len(board_BS), dtype=np.uint64)
    _hash_positions(board_BS, hand_BH, out)
    out[out == 0] = 1  # 0 marks an empty place of the table
    return out


def _groups(side: SideRows) -> list[tuple[int, int]]:
    """Group blocks so that each group has about `_PIECE_ROWS` rows."""
    number = np.cumsum(side.bounds[:, 3]) // _PIECE_ROWS
    cuts = [0, *(np.flatnonzero(np.diff(number)) + 1).tolist(), len(number)]
    return [pair for pair in itertools.pairwise(cuts) if pair[0] < pair[1]]


@dataclass(frozen=True)
class Overlap:
    """How many of the validation rows that were looked at occur in training."""

    looked_at: int
    known: int


def count_known_positions(
    training: SideRows, validation: SideRows, at_most: int = SAMPLE_ROWS
) -> Overlap:
    """Count the validation rows whose position also occurs in training.

    With more validation rows than `at_most`, only positions whose hash is divisible
    by some number are looked at, on both sides, so that memory stays at 18 bytes for
    each of `at_most` rows.
    """
    divisor = np.uint64(-(-validation.count // at_most))

    def hashes(side: SideRows) -> Iterator[npt.NDArray[np.uint64]]:
        for first, last in _groups(side):
            found = position_hashes(side, first, last)
            yield found if divisor == 1 else found[found % divisor == 0]

    size = 1 << max(10, int(2 * min(validation.count, 2 * at_most) - 1).bit_length())
    table = np.zeros(size, dtype=np.uint64)
    for part in hashes(validation):
        _insert(table, part)
    seen = np.zeros(size, dtype=np.bool_)
    for part in hashes(training):
        _mark(table, part, seen)
    known = looked_at = 0
    for part in hashes(validation):
        known += _count(table, seen, part)
        looked_at += len(part)
    return Overlap(looked_at, known)
