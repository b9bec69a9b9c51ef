"""Checking shards: `check_data` looks at all rows, `quick_check` at a few.

The rows are looked at in pieces, by worker processes, and the pieces are added up in
the order of the rows, so the report is the same for any number of workers. Memory
holds a few pieces, whatever the size of the data; duplicates are counted on disk.
"""

import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from maou.checking.config import CheckConfig
from maou.checking.distinct import Distinct, KeyFiles
from maou.checking.evals import describe_evals, fit_scale
from maou.checking.report import Duplicates, Fault, Games, NamedRow, Report, Results
from maou.checking.rows import (
    DRAWN,
    FAULTS,
    HISTOGRAM_SHAPE,
    LOST,
    WON,
    Example,
    Histogram,
    Piece,
    Task,
    look_at,
    look_at_rows,
)
from maou.convert.pool import Ticket, Workers, available_cores
from maou.errors import DataError
from maou.records import arriving
from maou.records.shards import Shard
from maou.sources.local import ShardSet

_TASK_ROWS = 1 << 16
_SAMPLE_BLOCK = 1024
_QUICK_SECONDS = 0.25
_IN_FLIGHT = 3  # tasks a worker
_INLINE_ROWS = 1_000_000  # below this, starting processes takes longer than the work

Tell = Callable[[int, int], None]


class _Sums:
    """The pieces, added up."""

    def __init__(
        self, shards: Sequence[Shard], names: Sequence[str], room: int
    ) -> None:
        self.shards, self.names, self.room = shards, names, room
        self.looked_at = self.empty_targets = 0
        self.game_starts = self.rows_without_ids = 0
        self.kinds: dict[str, Counter[str]] = {fault: Counter() for fault in FAULTS}
        self.faulty: Counter[str] = Counter()
        self.examples: dict[str, list[Example]] = {fault: [] for fault in FAULTS}
        self.histogram: Histogram = np.zeros(HISTOGRAM_SHAPE, dtype=np.int64)

    def add(self, task: Task, piece: Piece) -> None:
        """Add the next piece."""
        self.looked_at += piece.rows
        self.faulty += piece.faulty
        self.empty_targets += piece.empty_targets
        self.game_starts += piece.game_starts
        if not self.shards[task.shard].has_ids:
            self.rows_without_ids += piece.rows
        for fault, kinds in piece.kinds.items():
            self.kinds[fault] += kinds
        for example in piece.examples:
            if len(self.examples[example.fault]) < self.room:
                self.examples[example.fault].append(example)
        if piece.cells is not None:
            cells, counts = piece.cells
            self.histogram.reshape(-1)[cells] += counts

    def report(self, duplicates: Duplicates | None, games: Games | None) -> Report:
        """Make the report."""
        return Report(
            shards=len(self.shards),
            rows=sum(shard.rows for shard in self.shards),
            looked_at=self.looked_at,
            faults={
                fault: Fault(self.faulty[fault], _by_count(self.kinds[fault]))
                for fault in FAULTS
            },
            examples=tuple(
                NamedRow(one.fault, one.kind, self.names[one.shard], *_place(one))
                for fault in FAULTS
                for one in self.examples[fault]
            ),
            empty_targets=self.empty_targets,
            duplicates=duplicates,
            results=_results(self.histogram),
            evals=describe_evals(self.histogram),
            scale=fit_scale(self.histogram),
            games=games,
        )


def _by_count(kinds: Counter[str]) -> dict[str, int]:
    return dict(sorted(kinds.items(), key=lambda item: (-item[1], item[0])))


def _place(example: Example) -> tuple[int, str, str]:
    return example.row, example.sfen, example.move


def _results(histogram: Histogram) -> Results:
    rows = histogram.sum(axis=1)  # [turn, outcome]
    return Results(
        black_won=int(rows[0, WON] + rows[1, LOST]),
        white_won=int(rows[0, LOST] + rows[1, WON]),
        drawn=int(rows[:, DRAWN].sum()),
        mover_won=int(rows[:, WON].sum()),
        mover_lost=int(rows[:, LOST].sum()),
    )


def check_data(found: ShardSet[Shard], config: CheckConfig, tell: Tell) -> Report:
    """Look at the rows of shards.

    Args:
        found: opened hcpe shards.
        config: how many rows to look at, and with how many workers.
        tell: called with rows looked at and rows to look at.

    Raises:
        DataError: no room on disk for the keys (24 bytes a row, in the system's folder
            for temporary files).
    """
    try:
        return _check(found, config, tell)
    except OSError as error:
        raise DataError(
            f"{tempfile.gettempdir()}: cannot keep the keys of the rows here, 24 bytes "
            f"each: {error.strerror or error}; set TMPDIR to a folder with room"
        ) from error


def _check(found: ShardSet[Shard], config: CheckConfig, tell: Tell) -> Report:
    shards = found.shards
    names = [found.name(index) for index in range(len(shards))]
    tasks = _tasks(shards, config.sample_rows, config.examples, keys=True)
    total = sum(task.stop - task.start for task in tasks)
    sums = _Sums(shards, names, config.examples)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory("-check-data")))
        rows, positions, games = (
            stack.enter_context(KeyFiles(folder, name, total))
            for name in ("rows", "positions", "games")
        )
        workers = _worker_count(config, total, len(tasks))
        for task, piece in _in_order(shards, tasks, workers):
            sums.add(task, piece)
            for files, keys in (
                (rows, piece.row_keys),
                (positions, piece.position_keys),
                (games, piece.game_keys),
            ):
                if keys is not None:
                    files.add(keys)
            tell(sums.looked_at, total)
        same, alike, named = rows.count(), positions.count(), games.count()
    duplicates = Duplicates(
        rows=same.keys - same.distinct,
        positions=alike.keys - alike.distinct,
        commonest_position=alike.most,
    )
    return sums.report(duplicates, _games(sums, named))


def quick_check(shards: Sequence[Shard], rows: int = 20_480) -> list[str]:
    """Look at a few rows, evenly spaced, in well under half a second.

    Where reading a block is slow, as in a feather file that is one large record batch,
    fewer blocks are read, evenly spaced too. Nothing is waited for that a store has yet
    to send.

    Args:
        shards: opened hcpe shards.
        rows: about how many rows to look at.

    Returns:
        A warning for each thing that is wrong or doubtful; none when all seems well.
    """
    names = [str(shard.path) for shard in shards]
    sums = _Sums(shards, names, room=1)
    pieces: list[tuple[int, Task, Piece]] = []
    deadline = None
    tasks = [
        task
        for task in _tasks(shards, rows, examples=1, keys=False)
        if _is_there(shards[task.shard], task)
    ]
    if not tasks:
        return []
    for number in _spread(len(tasks)):
        task = tasks[number]
        pieces.append((number, task, look_at_rows(shards[task.shard], task)))
        now = time.monotonic()
        if deadline is None:  # the first piece loads the kernels
            deadline = now + _QUICK_SECONDS
        elif now > deadline:
            break
    for _, task, piece in sorted(pieces, key=lambda item: item[0]):
        sums.add(task, piece)
    report = sums.report(None, None)
    return [
        f"{one.text} (of a sample; maou utility check-data looks at all)"
        if one.serious and report.looked_at < report.rows
        else one.text
        for one in report.findings
    ]


def _is_there(shard: Shard, task: Task) -> bool:
    """Tell whether the rows can be read without waiting for a store."""
    if not arriving.is_arriving(shard.path):
        return True
    extents = shard.extents(task.start, task.stop)
    return all(arriving.is_there(shard.path, *extent) for extent in extents)


def _tasks(
    shards: Sequence[Shard], sample_rows: int, examples: int, *, keys: bool
) -> list[Task]:
    """Cut the rows, or an evenly spaced sample of them, into pieces."""
    total = sum(shard.rows for shard in shards)
    if not 0 < sample_rows < total:
        return [
            Task(index, shard.path, int(start), int(stop), examples, keys)
            for index, shard in enumerate(shards)
            for start, stop in _pairs(shard)
        ]
    size = min(_SAMPLE_BLOCK, sample_rows)
    blocks = -(-sample_rows // size)
    firsts = np.cumsum([0, *(shard.rows for shard in shards)])
    tasks: list[Task] = []
    for block in range(blocks):
        at = (total - size) * block // max(1, blocks - 1)
        index = int(np.searchsorted(firsts, at, side="right")) - 1
        start = at - int(firsts[index])
        if tasks and tasks[-1].shard == index:
            start = max(start, tasks[-1].stop)
        stop = min(start + size, shards[index].rows)
        if start < stop:
            tasks.append(Task(index, shards[index].path, start, stop, examples, keys))
    return tasks


def _spread(count: int) -> list[int]:
    """Order `range(count)` so that any first few of it are spread evenly."""
    bits = max(1, count - 1).bit_length()
    backwards = [int(f"{i:0{bits}b}"[::-1], 2) for i in range(1 << bits)]
    return [number for number in backwards if number < count]


def _pairs(shard: Shard) -> Iterator[tuple[int, int]]:
    bounds = shard.block_bounds(_TASK_ROWS)
    yield from zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)


def _worker_count(config: CheckConfig, rows: int, tasks: int) -> int:
    if config.workers is not None:
        return min(config.workers, tasks)
    return min(available_cores(), tasks) if rows >= _INLINE_ROWS else 0


def _in_order(
    shards: Sequence[Shard], tasks: list[Task], count: int
) -> Iterator[tuple[Task, Piece]]:
    """Look at pieces in parallel; yield them in the order of the rows."""
    if count == 0:
        for task in tasks:
            yield task, look_at_rows(shards[task.shard], task)
        return
    ahead: deque[tuple[Task, Ticket]] = deque()
    with Workers(count) as workers:
        for task in tasks:
            ahead.append((task, workers.submit(look_at, task)))
            if len(ahead) >= _IN_FLIGHT * count:
                first, ticket = ahead.popleft()
                yield first, workers.result(ticket)
        while ahead:
            first, ticket = ahead.popleft()
            yield first, workers.result(ticket)


def _games(sums: _Sums, named: Distinct) -> Games | None:
    """Describe the games: by id, guessed, or some of each."""
    guessed = sums.rows_without_ids
    games = named.distinct + sums.game_starts
    if games == 0:
        return None
    kind = "present" if not guessed else "missing" if not named.keys else "in part"
    return Games(
        ids=kind,
        games=games,
        rows_per_game=(named.keys + guessed) / games,
        longest=None if guessed else named.most,
    )
