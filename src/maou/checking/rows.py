"""One piece of a shard: counts, examples and keys, made in a worker.

What comes back is small and adds up: counts by kind, a histogram of evaluations, the
first bad rows, and 64-bit keys from which duplicates are counted.
"""

import functools
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from maou.errors import DataError
from maou.records.containers import open_hcpe_shard
from maou.records.hcpe import HCPE
from maou.records.keys import mix
from maou.records.shards import Rows, Shard
from maou.records.split import game_starts
from maou.shogi.compiled import kernel
from maou.shogi.hcp import STATUS_TEXT, decode_hcp
from maou.shogi.legality import (
    LEGAL,
    MOVE_TEXT,
    NO_MOVE,
    POSITION_TEXT,
    judge_rows,
)
from maou.shogi.notation import sfen_of, usi_of

FAULTS = DAMAGED, IMPOSSIBLE, ILLEGAL = "damaged", "impossible", "illegal"

BAD_RESULT_TEXT = "gameResult is not 0 (draw), 1 (black won) or 2 (white won)"

N_EVALS = 1 << 16
LOST, DRAWN, WON = 0, 1, 2

Histogram = npt.NDArray[np.int64]
"""Rows by turn, evaluation + 32768 and result for the side to move, [2, 65536, 3]."""

HISTOGRAM_SHAPE = (2, N_EVALS, 3)

Keys = npt.NDArray[np.uint64]


class Task(NamedTuple):
    """Rows [start, stop) of one shard; `keys` asks for duplicates and games too."""

    shard: int
    path: Path
    start: int
    stop: int
    examples: int
    keys: bool


@dataclass(frozen=True)
class Example:
    """A row with a fault."""

    fault: str
    shard: int
    row: int
    kind: str
    sfen: str = ""
    move: str = ""


@dataclass
class Piece:
    """What was found in some rows; pieces add up."""

    rows: int = 0
    kinds: dict[str, Counter[str]] = field(
        default_factory=lambda: {fault: Counter() for fault in FAULTS}
    )
    faulty: Counter[str] = field(default_factory=Counter)
    """Rows by fault: a position can be impossible in several ways at once."""
    empty_targets: int = 0
    examples: list[Example] = field(default_factory=list)
    cells: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None = None
    """The filled cells of the flat `Histogram`, and their counts."""
    game_starts: int = 0
    """Rows that seem to begin a game, of shards without game ids."""
    row_keys: Keys | None = None
    position_keys: Keys | None = None
    game_keys: Keys | None = None


_open = functools.lru_cache(maxsize=2)(open_hcpe_shard)


def look_at(task: Task) -> Piece:
    """Look at some rows; runs in a worker process, which keeps the shard open."""
    return look_at_rows(_open(task.path), task)


def look_at_rows(shard: Shard, task: Task) -> Piece:
    """Look at rows of an open shard. Nothing that a row holds stops it."""
    piece = Piece(rows=task.stop - task.start)
    try:
        rows = shard.read(task.start, task.stop)
        if shard.has_ids and task.keys:
            piece.game_keys = shard.game_keys(task.start, task.stop)
    except DataError as error:
        text = "rows that cannot be read"
        piece.kinds[DAMAGED][text] = piece.faulty[DAMAGED] = piece.rows
        piece.examples = [Example(DAMAGED, task.shard, task.start, str(error))]
        return piece
    records = rows.view(HCPE)[:, 0]
    board_BS, hand_BH, status_B = decode_hcp(rows)
    result_B = records["gameResult"] & 3
    turn_B = (rows[:, 0] & 1).astype(np.uint8)
    good_B = (status_B == 0) & (result_B != 3)
    faults = _Faults(piece, task, board_BS, hand_BH, turn_B, records["bestMove16"])
    for status, text in STATUS_TEXT.items():
        faults.add(DAMAGED, text, np.flatnonzero(status_B == status))
    faults.add(
        DAMAGED, BAD_RESULT_TEXT, np.flatnonzero((status_B == 0) & (result_B == 3))
    )
    good = np.flatnonzero(good_B)
    if len(good) < len(rows):
        board_BS, hand_BH = board_BS[good], hand_BH[good]
    moves = np.ascontiguousarray(records["bestMove16"][good])
    verdicts = judge_rows(board_BS, hand_BH, moves, turn_B[good])
    for flag, text in POSITION_TEXT.items():
        found = good[verdicts.fault_B & flag != 0]
        faults.add(IMPOSSIBLE, text, found)
    for reason, text in MOVE_TEXT.items():
        faults.add(ILLEGAL, text, good[verdicts.move_B == reason])
    piece.faulty[DAMAGED] = len(rows) - len(good)
    piece.faulty[IMPOSSIBLE] = int(np.count_nonzero(verdicts.fault_B))
    piece.faulty[ILLEGAL] = int(np.count_nonzero(verdicts.move_B != LEGAL))
    piece.empty_targets = int(np.count_nonzero(verdicts.move_B == NO_MOVE))
    faults.choose()
    piece.cells = _cells(records[good], turn_B[good])
    if task.keys:
        piece.row_keys = np.empty(len(rows), dtype=np.uint64)
        _hash_rows(rows, piece.row_keys)
        piece.position_keys = np.empty(len(good), dtype=np.uint64)
        _hash_positions(board_BS, hand_BH, piece.position_keys)
        if not shard.has_ids:
            piece.game_starts = _count_starts(shard, task, rows)
    return piece


@dataclass
class _Faults:
    """Collects the bad rows of a piece, to name the first of each kind."""

    piece: Piece
    task: Task
    board_BS: npt.NDArray[np.uint8]
    hand_BH: npt.NDArray[np.uint8]
    turn_B: npt.NDArray[np.uint8]
    moves: npt.NDArray[np.uint16]
    found: list[tuple[int, str, str]] = field(default_factory=list)

    def add(self, fault: str, kind: str, rows: npt.NDArray[np.intp]) -> None:
        """Count rows of one kind and remember the first."""
        if len(rows):
            self.piece.kinds[fault][kind] = len(rows)
            first = rows[: self.task.examples].tolist()
            self.found += [(row, fault, kind) for row in first]

    def choose(self) -> None:
        """Make examples of the first rows of each fault."""
        room = dict.fromkeys(FAULTS, self.task.examples)
        for row, fault, kind in sorted(self.found):
            room[fault] -= 1
            if room[fault] >= 0:
                self.piece.examples.append(self._example(row, fault, kind))

    def _example(self, row: int, fault: str, kind: str) -> Example:
        number = self.task.start + row
        if fault == DAMAGED:
            return Example(fault, self.task.shard, number, kind)
        turn = int(self.turn_B[row])
        sfen = sfen_of(self.board_BS[row], self.hand_BH[row], turn)
        move = usi_of(int(self.moves[row]))
        return Example(fault, self.task.shard, number, kind, sfen, move)


def _cells(
    records: npt.NDArray[np.void], turn_B: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    evals = records["eval"].astype(np.int64) + N_EVALS // 2
    result = records["gameResult"] & 3
    outcome = np.where(result == 0, DRAWN, np.where(result == turn_B + 1, WON, LOST))
    cell = (turn_B.astype(np.int64) * N_EVALS + evals) * 3 + outcome
    cells, counts = np.unique(cell, return_counts=True)
    return cells, counts


def _count_starts(shard: Shard, task: Task, rows: Rows) -> int:
    """Count rows that begin a game, as far as the order of the rows tells."""
    if task.start == 0:
        return int(game_starts(rows).sum())
    try:
        before = shard.read(task.start - 1, task.start)
    except DataError:
        return int(game_starts(rows).sum())
    return int(game_starts(np.concatenate([before, rows]))[1:].sum())


@kernel
def _hash_rows(rows: Rows, out: Keys) -> None:
    """Hash what a raw record holds, bytes 0 to 36."""
    for i in range(len(rows)):
        value = np.uint64(0)
        for start in range(0, 37, 8):
            word = np.uint64(0)
            for at in range(start, min(start + 8, 37)):
                word = word << np.uint64(8) | np.uint64(rows[i, at])
            value = mix(value ^ word)
        out[i] = value


@kernel
def _hash_positions(
    board_BS: npt.NDArray[np.uint8], hand_BH: npt.NDArray[np.uint8], out: Keys
) -> None:
    for i in range(len(board_BS)):
        value = np.uint64(0)
        for start in range(0, 81, 12):  # 12 piece ids of 5 bits a word
            word = np.uint64(0)
            for at in range(start, min(start + 12, 81)):
                word = word << np.uint64(5) | np.uint64(board_BS[i, at])
            value = mix(value ^ word)
        word = np.uint64(0)  # the opponent's hand follows from the rest
        for at in range(7):
            word = word << np.uint64(5) | np.uint64(hand_BH[i, at])
        out[i] = mix(value ^ word)
