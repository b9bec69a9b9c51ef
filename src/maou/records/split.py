"""The split into training and validation: a game is never on both sides.

A row is in validation if and only if the keyed hash of (seed, its game) falls under a
threshold, the test ratio's share of all 64-bit numbers. What stands for the game:

- the game id, where records carry one;
- the shard, where they do not and there are several shards;
- with one shard and no ids, the run of rows that follow each other as positions of a
  game do (see `game_starts`).

Records that no game can be told of are split by shard or by row, by the same rule.

When no unit falls under the threshold, or every one does, the threshold moves to the
nearest unit's hash, so that neither side is empty.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from maou.errors import DataError
from maou.records.keys import key_of, keyed_hash
from maou.records.shards import Rows, Shard
from maou.shogi.compiled import kernel
from maou.shogi.hcp import decode_hcp

_PIECE = 1 << 18  # rows looked at together: about 10 MB
_SALT = 0x73706C6974  # "split": keeps this use of the seed apart from others

SAME_GAME_CHANGES = 16
"""Two rows are taken for one game if at most so many squares and hand counts differ.

A move changes two squares and perhaps a hand count; converters leave out a few plies.
The last position of a game and the first of the next differ in far more."""

SHUFFLED_RUN = 8.0
"""Below this mean length of a recovered game, the rows are not in game order."""


ONE_GAME = (
    "all rows belong to one game (or one shard without game ids), so none can be held "
    "out; give more games"
)


@dataclass(frozen=True)
class Split:
    """Which rows are held out.

    Attributes:
        held_out: per shard, one bit a row (numpy.packbits, little order).
        rows: rows of each shard.
        unit: what was never split: `game`, `shard`, `run` or `row`, for the plan;
            `none` where nothing is held out.
        warning: what the user must know about the split; empty if nothing.
    """

    held_out: tuple[npt.NDArray[np.uint8], ...]
    rows: tuple[int, ...]
    unit: str
    warning: str = ""

    def mask(self, shard: int, start: int, stop: int) -> npt.NDArray[np.bool_]:
        """Tell which of a shard's rows [start, stop) are in validation, bool [n]."""
        first = start // 8
        return unpacked(self.held_out[shard][first : (stop + 7) // 8], start, stop)

    @property
    def validation_rows(self) -> int:
        """Number of rows in validation."""
        return sum(int(np.bitwise_count(bits).sum()) for bits in self.held_out)

    @property
    def training_rows(self) -> int:
        """Number of rows in training."""
        return sum(self.rows) - self.validation_rows


def unpacked(
    marks: npt.NDArray[np.uint8], start: int, stop: int
) -> npt.NDArray[np.bool_]:
    """Return the marks of rows [start, stop) from the bytes that hold them."""
    bits = np.unpackbits(marks, bitorder="little")
    begin = start % 8
    return bits[begin : begin + stop - start].astype(np.bool_)


def split_by_game(shards: tuple[Shard, ...], test_ratio: float, seed: int) -> Split:
    """Split the rows of shards by game.

    Raises:
        DataError: there is only one game (or shard) to split, or a row is damaged.
    """
    marked: dict[int, npt.NDArray[np.uint8]] = {}
    mark_by_game(shards, test_ratio, seed, marked.__setitem__)
    held_out = tuple(marked[index] for index in range(len(shards)))
    unit, warning = describe_split(shards)
    return Split(held_out, tuple(shard.rows for shard in shards), unit, warning)


def mark_by_game(
    shards: tuple[Shard, ...],
    test_ratio: float,
    seed: int,
    keep: Callable[[int, npt.NDArray[np.uint8]], None],
) -> None:
    """Mark the rows to hold out, a shard at a time, for splits too long for memory.

    Args:
        shards: the shards to split.
        test_ratio: share of the games to hold out.
        seed: seed of the split.
        keep: called with a shard's number and its held-out rows, one bit a row
            (numpy.packbits, little order). Where the threshold had to move, it is
            called again for each shard, and the later marks hold.

    Raises:
        DataError: there is only one game (or shard) to split, or a row is damaged.
    """
    hashes = _hasher(shards, split_key(seed))
    _mark(shards, hashes, test_ratio, keep, ONE_GAME)


def _mark(
    shards: Sequence["Counted"],
    hashes: "Hasher",
    test_ratio: float,
    keep: Callable[[int, npt.NDArray[np.uint8]], None],
    one: str,
) -> None:
    """Mark the rows whose hash is below the threshold.

    Where all rows are of one unit, `one` says so.
    """
    threshold = threshold_of(test_ratio)
    low, high = 2**64, -1
    for index in range(len(shards)):
        bits, least, most = _below(hashes(index), threshold)
        low, high = min(low, least), max(high, most)
        keep(index, bits)
    if low == high:
        raise DataError(f"{shards[0].path}: {one}")
    nearest = moved_threshold(low, high, threshold)
    if nearest != threshold:
        for index in range(len(shards)):
            keep(index, _below(hashes(index), nearest)[0])


def split_key(seed: int) -> int:
    """Give the key under which games are hashed."""
    return key_of(_SALT, seed)


def threshold_of(test_ratio: float) -> int:
    """Give the hash below which a game is held out."""
    return int(test_ratio * 2**64)


def moved_threshold(low: int, high: int, threshold: int) -> int:
    """Move the threshold so that the lowest hash is below it and the highest not."""
    if threshold <= low:
        return low + 1
    return min(threshold, high)


class Counted(Protocol):
    """Anything with a number of rows."""

    path: Path
    rows: int


def take_all(shards: Sequence[Counted]) -> Split:
    """Hold nothing out: all rows are on the training side."""
    rows = tuple(shard.rows for shard in shards)
    return split_by_marks(rows, (False,) * len(rows), "none")


def split_by_marks(
    rows: tuple[int, ...], held_out: tuple[bool, ...], unit: str
) -> Split:
    """Hold whole shards out.

    Args:
        rows: rows of each shard.
        held_out: whether each is in validation.
        unit: what was never split, for the plan.
    """
    marks = tuple(
        np.packbits(np.full(count, held, dtype=np.bool_), bitorder="little")
        for count, held in zip(rows, held_out, strict=True)
    )
    return Split(marks, rows, unit)


def split_by_shard(
    shards: Sequence[Counted], hashes: Sequence[int], test_ratio: float
) -> Split:
    """Hold whole shards out, by a hash of the seed and of what each holds.

    Raises:
        DataError: all shards hold the same.
    """
    low, high = min(hashes), max(hashes)
    if low == high:
        raise DataError(
            f"{shards[0].path}: the shards all hold the same, so none can be held out"
        )
    threshold = moved_threshold(low, high, threshold_of(test_ratio))
    held_out = tuple(value < threshold for value in hashes)
    return split_by_marks(tuple(shard.rows for shard in shards), held_out, "shard")


def split_by_row(
    shards: Sequence[Counted],
    keys: "Hasher",
    test_ratio: float,
    seed: int,
    warning: str = "",
) -> Split:
    """Split row by row, each chosen by its key alone, whatever shard it lies in.

    Args:
        shards: the shards to split.
        keys: yields the keys of a shard's rows in order, uint64 [n] at a time.
        test_ratio: share of the rows to hold out.
        seed: seed of the split.
        warning: what the user must know about the split; empty if nothing.

    Raises:
        DataError: all rows have one key, or a row cannot be read.
    """
    key = split_key(seed)

    def hashes(index: int) -> Iterator[npt.NDArray[np.uint64]]:
        for part in keys(index):
            yield keyed_hash(part, key)

    marked: dict[int, npt.NDArray[np.uint8]] = {}
    one = "all rows have one id, so none can be held out; give more rows"
    _mark(shards, hashes, test_ratio, marked.__setitem__, one)
    held_out = tuple(marked[index] for index in range(len(shards)))
    return Split(held_out, tuple(shard.rows for shard in shards), "row", warning)


Hasher = Callable[[int], Iterator[npt.NDArray[np.uint64]]]
"""Gives numbers of a shard's rows in order, uint64 [n], some rows at a time."""


def _hasher(shards: tuple[Shard, ...], key: int) -> Hasher:
    """Return a function that yields the keyed unit hashes of a shard's rows."""

    def hashes(index: int) -> Iterator[npt.NDArray[np.uint64]]:
        shard = shards[index]
        if not shard.has_ids and len(shards) > 1:
            unit = keyed_hash(np.array([_shard_key(shard)], dtype=np.uint64), key)
            for start, stop in _pieces(shard):
                yield np.broadcast_to(unit, (stop - start,))
            return
        pieces = _id_keys(shard) if shard.has_ids else _run_keys(shard)
        for keys in pieces:
            yield keyed_hash(keys, key)

    return hashes


def _below(
    hashes: Iterator[npt.NDArray[np.uint64]], threshold: int
) -> tuple[npt.NDArray[np.uint8], int, int]:
    """Mark a shard's rows whose hash is below; also give the extreme hashes."""
    low, high = 2**64, -1
    parts = []
    rest = np.empty(0, dtype=np.bool_)
    for hashed in hashes:
        low = min(low, int(hashed.min()))
        high = max(high, int(hashed.max()))
        below = hashed < np.uint64(min(threshold, 2**64 - 1))
        rest = np.concatenate([rest, below])
        whole = len(rest) - len(rest) % 8  # a byte may span two pieces
        parts.append(np.packbits(rest[:whole], bitorder="little"))
        rest = rest[whole:]
    parts.append(np.packbits(rest, bitorder="little"))
    return np.concatenate(parts), low, high


def _pieces(shard: Shard) -> Iterator[tuple[int, int]]:
    bounds = shard.block_bounds(_PIECE)
    yield from zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)


def _id_keys(shard: Shard) -> Iterator[npt.NDArray[np.uint64]]:
    for start, stop in _pieces(shard):
        yield shard.game_keys(start, stop)


def _shard_key(shard: Shard) -> int:
    """Identify a shard by what it holds, so that a renamed file stays on its side."""
    ends = shard.read(0, 1).tobytes() + shard.read(shard.rows - 1, shard.rows).tobytes()
    words = np.frombuffer(ends + bytes(-len(ends) % 8), dtype="<u8")
    return key_of(shard.rows, *(int(word) for word in words))


def _run_keys(shard: Shard) -> Iterator[npt.NDArray[np.uint64]]:
    """Number the recovered games of a shard; yield each row's number."""
    games = 0
    last: Rows | None = None
    for start, stop in _pieces(shard):
        rows = shard.read(start, stop)
        joined = rows if last is None else np.concatenate([last, rows])
        starts = game_starts(joined)
        if last is not None:
            starts = starts[1:]
        numbers = games + np.cumsum(starts, dtype=np.uint64)
        games = int(numbers[-1])
        last = rows[-1:]
        yield numbers.astype(np.uint64)


@kernel
def _count_changes(
    board_BS: npt.NDArray[np.uint8],
    hand_BH: npt.NDArray[np.uint8],
    turn_B: npt.NDArray[np.uint8],
    changes_B: npt.NDArray[np.int64],
) -> None:
    for i in range(1, len(board_BS)):
        changes = 0
        rotated = turn_B[i] != turn_B[i - 1]
        for s in range(81):
            before = board_BS[i - 1, 80 - s] if rotated else board_BS[i - 1, s]
            if rotated and before:
                before = before + 14 if before <= 14 else before - 14
            changes += before != board_BS[i, s]
        for h in range(14):
            before = hand_BH[i - 1, (h + 7) % 14] if rotated else hand_BH[i - 1, h]
            changes += before != hand_BH[i, h]
        changes_B[i] = changes


def game_starts(rows: Rows) -> npt.NDArray[np.bool_]:
    """Guess where games begin among rows without ids, bool [n]; the first row always.

    A row begins a game when it differs from the row before in more than
    `SAME_GAME_CHANGES` squares and hand counts, or in its result.
    """
    board_BS, hand_BH, _ = decode_hcp(rows)
    changes = np.zeros(len(rows), dtype=np.int64)
    turn_B = (rows[:, 0] & 1).astype(np.uint8)
    _count_changes(board_BS, hand_BH, turn_B, changes)
    starts: npt.NDArray[np.bool_] = changes > SAME_GAME_CHANGES
    starts[1:] |= (rows[1:, 36] & 3) != (rows[:-1, 36] & 3)
    starts[0] = True
    return starts


def describe_split(shards: tuple[Shard, ...]) -> tuple[str, str]:
    """Name the unit of the split, and what to warn about."""
    if all(shard.has_ids for shard in shards):
        return "game", ""
    if len(shards) > 1:
        return "shard", ""
    sample: Any = game_starts(shards[0].read(0, min(shards[0].rows, _PIECE)))
    length = len(sample) / max(1, int(sample.sum()))
    if length < SHUFFLED_RUN and len(sample) > SHUFFLED_RUN:
        return "run", (
            f"{shards[0].path}: the rows carry no game ids and are not in game order "
            f"(runs of {length:.1f} rows), so positions of one game may be on both "
            "sides and validation will flatter. Give several shards, or convert the "
            "games with ids (maou hcpe-convert)."
        )
    return "run", ""
