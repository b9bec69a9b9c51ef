"""Stage 2 data: the legal moves of real positions, by rsshogi's move generator.

Positions that are equal from the side to move are written once, where they first
occur, so openings do not fill the data. The shards hold a fixed number of positions in
the order of the input and are the same for any number of workers. A shard is written
aside and renamed, so what has its name is complete.
"""

import functools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from rsshogi.core import Board

from maou.convert.coding import coded_moves
from maou.convert.config_stages import Stage2DataConfig
from maou.convert.pool import Ticket, Workers, available_cores
from maou.errors import ConfigError, DataError
from maou.files import atomic_write
from maou.records.containers import open_hcpe_shard
from maou.records.preprocess import position_ids
from maou.records.shards import Shard
from maou.records.stages import STAGE2, pack_bits
from maou.shogi.compiled import kernel
from maou.shogi.hcp import HCP_BYTES, STATUS_TEXT, decode_hcp, encode_hcp
from maou.shogi.labels import N_LABELS
from maou.shogi.samples import move_label

_TASK_ROWS = 4096
_IN_FLIGHT = 3  # tasks a worker

Records = npt.NDArray[np.void]


class Task(NamedTuple):
    """Rows [start, stop) of one shard."""

    path: Path
    start: int
    stop: int


class Written(NamedTuple):
    """What a run did: positions read and written, and the shards."""

    read: int
    written: int
    shards: list[Path]


def generate_stage2(
    shards: Sequence[Shard],
    config: Stage2DataConfig,
    tell: Callable[[int, int], None],
) -> Written:
    """Write the legal moves of every distinct position of some shards.

    Memory holds one shard of output and about 100 bytes for each position seen.

    Args:
        shards: opened hcpe shards.
        config: where to write, and with how many workers.
        tell: called with rows read and rows in all.

    Raises:
        ConfigError: the folder holds such shards already.
        DataError: a row is damaged; the message names it.
        OSError: the output cannot be written.
    """
    config.output_dir.mkdir(parents=True, exist_ok=True)
    if any(config.output_dir.glob("stage2-*.npy")):
        raise ConfigError(
            f"--output-dir {config.output_dir}: holds stage 2 shards already; remove "
            "them or name another folder, so that two sets are not mixed"
        )
    total = sum(shard.rows for shard in shards)
    seen: set[int] = set()
    held: list[Records] = []
    paths: list[Path] = []
    waiting = written = read = 0
    for records in _in_order(shards, config):
        fresh = records[_first_time(records["id"], seen)]
        held.append(fresh)
        read, waiting = read + len(records), waiting + len(fresh)
        written += len(fresh)
        while waiting >= config.shard_rows:
            joined = np.concatenate(held)
            full, rest = joined[: config.shard_rows], joined[config.shard_rows :]
            paths.append(_write(config.output_dir, len(paths), full))
            held, waiting = [rest], len(rest)
        tell(read, total)
    if waiting:
        paths.append(_write(config.output_dir, len(paths), np.concatenate(held)))
    return Written(read, written, paths)


def _in_order(shards: Sequence[Shard], config: Stage2DataConfig) -> Iterator[Records]:
    """Work through the shards in parallel; yield results in the order of the rows."""
    tasks = [
        Task(shard.path, start, min(start + _TASK_ROWS, shard.rows))
        for shard in shards
        for start in range(0, shard.rows, _TASK_ROWS)
    ]
    count = available_cores() if config.workers is None else config.workers
    count = min(count, len(tasks)) if len(tasks) > 1 else 0
    ahead: deque[Ticket] = deque()
    with Workers(count) as workers:
        for task in tasks:
            ahead.append(workers.submit(legal_moves_of, task))
            if len(ahead) >= _IN_FLIGHT * max(1, count):
                yield workers.result(ahead.popleft())
        while ahead:
            yield workers.result(ahead.popleft())


_open = functools.lru_cache(maxsize=2)(open_hcpe_shard)


def legal_moves_of(task: Task) -> Records:
    """Make the records of some rows: `STAGE2` [rows]; runs in a worker.

    Raises:
        DataError: a row is damaged.
    """
    rows = _open(task.path).read(task.start, task.stop)
    board_BS, hand_BH, status_B = decode_hcp(rows)
    if status_B.any():
        bad = int(np.flatnonzero(status_B)[0])
        raise DataError(
            f"{task.path}: row {task.start + bad}: {STATUS_TEXT[int(status_B[bad])]}"
        )
    board = Board()
    moves, counts = [], np.empty(len(rows), dtype=np.int64)
    for i, row in enumerate(rows):
        try:
            board.set_hcp(row[:HCP_BYTES].tobytes())
        except ValueError as error:
            raise DataError(
                f"{task.path}: row {task.start + i}: not a possible position: {error}"
            ) from error
        legal = board.legal_moves()
        counts[i] = len(legal)
        moves += legal
    flags = np.zeros((len(rows), N_LABELS), dtype=np.bool_)
    coded = coded_moves(moves).astype(np.int64)
    position = np.repeat(np.arange(len(rows)), counts)
    turn_B = (rows[:, 0] & 1).astype(np.uint8)
    _mark_labels(coded, position, turn_B, flags)
    records = np.zeros(len(rows), dtype=STAGE2)
    codes, _ = encode_hcp(board_BS, hand_BH)
    records["id"] = position_ids(codes)
    records["boardIdPositions"] = board_BS.reshape(-1, 9, 9)
    records["piecesInHand"] = hand_BH
    records["legalMovesLabel"] = pack_bits(flags)
    return records


@kernel
def _mark_labels(
    moves: npt.NDArray[np.int64],
    position: npt.NDArray[np.int64],
    turn_B: npt.NDArray[np.uint8],
    flags_BM: npt.NDArray[np.bool_],
) -> None:
    for i in range(len(moves)):
        at = position[i]
        flags_BM[at, move_label(moves[i], turn_B[at])] = True


def _first_time(ids: npt.NDArray[np.uint64], seen: set[int]) -> npt.NDArray[np.intp]:
    """Return the indices of ids that were not seen before, and remember them."""
    first = []
    for index, number in enumerate(ids.tolist()):
        if number not in seen:
            seen.add(number)
            first.append(index)
    return np.array(first, dtype=np.intp)


def _write(folder: Path, number: int, records: Records) -> Path:
    path = folder / f"stage2-{number:05d}.npy"
    with atomic_write(path) as stream:
        np.lib.format.write_array(stream, np.ascontiguousarray(records))
    return path
