"""What a process that makes batches is doing right now, for whoever waits for it.

Each process writes its last step to a small table, a row a process, without locks: five
numbers, a thousandth of the time of the step itself. Only a stall is a reason to read
it; a row that is half new is still a good hint.
"""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from maou.records import arriving

Table = npt.NDArray[np.int64]
"""Step, three numbers that describe it, and when it began (ns), int64 [n, 5]."""

COLUMNS = 5
STARTING, IDLE, READING, MAKING, MADE, WAITING = range(6)

_rows: list[Table] = [np.zeros(COLUMNS, dtype=np.int64)]


def write_to(row: Table) -> None:
    """Have this process write its steps to a row of a table, int64 [5]."""
    _rows[0] = row
    note(IDLE)


def own_row() -> Table:
    """Return the row that this process writes to."""
    return _rows[0]


def note(step: int, a: int = 0, b: int = 0, c: int = 0) -> None:
    """Write down what begins now: READING (shard, start, stop), MAKING (batch).

    READING becomes WAITING while a store has yet to send what is to be read.
    """
    _rows[0][:] = (step, a, b, c, time.monotonic_ns())


def _note_waiting(waits: bool) -> None:
    """Write down that what is to be read is still in a store, or no longer."""
    steps = (READING, WAITING)
    if _rows[0][0] == steps[not waits]:
        _rows[0][0] = steps[waits]


arriving.tell_waits(_note_waiting)


def started(row: Table) -> bool:
    """Tell whether a process has begun to work."""
    return int(row[0]) != STARTING


def seconds_since(row: Table) -> float:
    """Return how long ago a process wrote its last step."""
    return (time.monotonic_ns() - int(row[4])) / 1e9


def describe(row: Table, paths: Sequence[Path]) -> str:
    """Say what a process does and for how long, such as `decoding batch 3, 12 s`.

    Args:
        row: the process's row, int64 [5].
        paths: files of the shards.
    """
    step, a, b, c = (int(value) for value in row[:4])
    if step == STARTING:
        return "has not started yet"
    words = {
        IDLE: "waiting for work",
        READING: f"reading {paths[a] if step == READING else ''} rows {b} to {c}",
        WAITING: f"waiting for the store to send rows {b} to {c} of shard {a + 1}",
        MAKING: f"decoding batch {a}",
        MADE: f"has made batch {a}",
    }
    return f"{words[step]}, {seconds_since(row):.0f} s"
