"""The preprocess record: one distinct position with all that was played in it.

Positions are seen from the side to move, and equal ones are one record, whichever
colour was to move. The *packed* form is exact and small: the position code with the
side to move as black, and a list of (label, count, wins). The *dense* form is what a
loader without a decoder reads, with a place for each of the 1496 labels.

Wins are counted in half points of the side to move: 2 won, 1 drawn, 0 lost.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from maou.records.keys import mix
from maou.shogi.compiled import kernel
from maou.shogi.hcp import HCP_BYTES, decode_hcp
from maou.shogi.labels import N_LABELS
from maou.shogi.pieces import HAND_SIZE

MAX_COUNT = 2**31 - 1
"""The most records that one position can sum up: its wins then fit uint32."""

POSITION = np.dtype([("hcp", "u1", (HCP_BYTES,)), ("count", "<u4"), ("end", "<u4")])
"""A packed position, 40 bytes. `count`: its records; `end`: where its moves end."""

MOVE = np.dtype([("label", "<u2"), ("count", "<u4"), ("wins", "<u4")])
"""A move of a packed position, 10 bytes. `wins` are half points."""

DENSE = np.dtype(
    [
        ("id", "<u8"),
        ("boardIdPositions", "u1", (9, 9)),
        ("piecesInHand", "u1", (HAND_SIZE,)),
        ("moveLabel", "<f2", (N_LABELS,)),
        ("resultValue", "<f2"),
        ("count", "<u4"),
        ("moveWinRate", "<f2", (N_LABELS,)),
    ]
)
"""A dense position, 6,093 bytes. `moveLabel` is each move's share of `count`,
`moveWinRate` its mean result (0 where it was not played), `resultValue` the mean
result of the position: 1 won, 0.5 drawn, 0 lost, for the side to move."""

Records = npt.NDArray[Any]


class PackedBlock(NamedTuple):
    """Consecutive packed positions: B positions with N moves in all."""

    codes: npt.NDArray[np.uint8]
    """Position codes, the side to move as black, uint8 [B, 32]."""

    offsets: npt.NDArray[np.int64]
    """Position i has the moves [offsets[i], offsets[i + 1]), int64 [B + 1]."""

    labels: npt.NDArray[np.uint16]
    """Labels, rising within a position, uint16 [N]."""

    counts: npt.NDArray[np.uint32]
    """How often each move was played, uint32 [N]."""

    wins: npt.NDArray[np.uint32]
    """Half points that each move scored, uint32 [N]."""


def packed_dtype(positions: int, moves: int) -> np.dtype[np.void]:
    """Build the dtype of a packed `.npy` shard, a single record that is the shard."""
    return np.dtype([("positions", POSITION, (positions,)), ("moves", MOVE, (moves,))])


def joined(blocks: list[PackedBlock]) -> PackedBlock:
    """Put blocks one behind the other."""
    if len(blocks) == 1:
        return blocks[0]
    sizes = [np.diff(block.offsets) for block in blocks]
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(sizes))]).astype(np.int64)
    return PackedBlock(
        np.concatenate([block.codes for block in blocks]),
        offsets,
        np.concatenate([block.labels for block in blocks]),
        np.concatenate([block.counts for block in blocks]),
        np.concatenate([block.wins for block in blocks]),
    )


def totals(block: PackedBlock) -> npt.NDArray[np.uint32]:
    """Return how many records each position sums up, uint32 [B]."""
    if not len(block.codes):
        return np.empty(0, dtype=np.uint32)
    return np.add.reduceat(block.counts, block.offsets[:-1], dtype=np.uint32)


@kernel
def position_id(words: npt.NDArray[np.uint64]) -> np.uint64:
    """Hash a position code given as four little-endian words, uint64 [4 or more]."""
    value = np.uint64(0)
    for i in range(4):
        value = mix(value ^ words[i])
    return value


@kernel
def _ids(words: npt.NDArray[np.uint64], ids: npt.NDArray[np.uint64]) -> None:
    for i in range(len(ids)):
        ids[i] = position_id(words[i])


def position_ids(codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """Hash position codes (`keys.key_of` of their four words), uint64 [B].

    Args:
        codes: codes with the side to move as black, uint8 [B, 32].
    """
    words = np.ascontiguousarray(codes).view("<u8").reshape(-1, 4)
    ids = np.empty(len(words), dtype=np.uint64)
    _ids(words, ids)
    return ids


def dense_rows(block: PackedBlock) -> Records:
    """Spread packed positions over all labels, `DENSE` [B].

    The codes must be valid. Quotients are float64, rounded once to float16.
    """
    rows = np.zeros(len(block.codes), dtype=DENSE)
    board_BS, hand_BH, status_B = decode_hcp(block.codes)
    assert not status_B.any()
    rows["id"] = position_ids(block.codes)
    rows["boardIdPositions"] = board_BS.reshape(-1, 9, 9)
    rows["piecesInHand"] = hand_BH
    total = totals(block)
    rows["count"] = total
    at = np.repeat(np.arange(len(rows)), np.diff(block.offsets))
    counts, wins = block.counts.astype(np.float64), block.wins.astype(np.float64)
    rows["moveLabel"][at, block.labels] = counts / total[at]
    rows["moveWinRate"][at, block.labels] = wins / (2 * counts)
    if len(rows):
        points = np.add.reduceat(block.wins, block.offsets[:-1], dtype=np.uint64)
        rows["resultValue"] = points / (2 * total.astype(np.float64))
    return rows
