"""Which ranges of cells are merged at once, and merged ranges read as one."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from maou.convert.spill import Run
from maou.records.preprocess import PackedBlock, joined
from maou.records.preprocess_npy import PackedNpy

N_SIDES = 2  # training and validation


class Merge(NamedTuple):
    """A range of cells of one side, with this many entries in all runs."""

    side: int
    first: int
    last: int
    entries: int


def plan_merges(runs: Sequence[tuple[Run, bool]], cells: int, most: int) -> list[Merge]:
    """Cut the cells of both sides into ranges of at most so many entries."""
    plan = []
    for side in range(N_SIDES):
        counts = np.zeros(cells, dtype=np.int64)
        for run, excluded in runs:
            counts += _entries_by_cell(run, 0 if excluded else side)
        ends = np.cumsum(counts)
        first, before = 0, 0
        while first < cells:
            last = int(np.searchsorted(ends, before + most, side="right"))
            last = max(last, first + 1)
            plan.append(Merge(side, first, last, int(ends[last - 1]) - before))
            first, before = last, int(ends[last - 1])
    return plan


def _entries_by_cell(run: Run, side: int) -> npt.NDArray[np.int64]:
    bounds = run.index(side).astype(np.int64)
    return bounds[1:] - bounds[:-1]


class Ranges:
    """Packed shards one behind the other, read as if they were one."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._shards = [PackedNpy(path) for path in paths]
        self._starts = np.cumsum([0, *(shard.rows for shard in self._shards)])

    def _parts(self, start: int, stop: int) -> Iterator[tuple[PackedNpy, int, int]]:
        first = int(np.searchsorted(self._starts, start, side="right")) - 1
        for shard, begin in zip(
            self._shards[first:], self._starts[first:-1].tolist(), strict=True
        ):
            low, high = max(start, begin), min(stop, begin + shard.rows)
            if low >= high:
                return
            yield shard, low - begin, high - begin

    def read(self, start: int, stop: int) -> PackedBlock:
        """Read positions [start, stop)."""
        return joined([part.read(a, b) for part, a, b in self._parts(start, stop)])

    def moves(self, start: int, stop: int) -> int:
        """Count the moves of positions [start, stop)."""
        return sum(
            last - first
            for part, a, b in self._parts(start, stop)
            for first, last in [part.move_bounds(a, b)]
        )


def sliced(block: PackedBlock, start: int, stop: int) -> PackedBlock:
    """Return positions [start, stop) of a block, without copies."""
    first, last = block.offsets[start], block.offsets[stop]
    return PackedBlock(
        block.codes[start:stop],
        block.offsets[start : stop + 1] - first,
        block.labels[first:last],
        block.counts[first:last],
        block.wins[first:last],
    )
