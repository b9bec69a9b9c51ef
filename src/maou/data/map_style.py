"""The map-style dataset: all rows in memory, in a fully shuffled order.

`file` keeps one array a shard and finds a row's shard by binary search; `memory` joins
the arrays into one.
"""

import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from maou.data.batch import PositionBatch
from maou.data.mirroring import choose_mirrored
from maou.data.order import batch_count, map_order, mirror_key
from maou.data.rows import SideRows


@dataclass(frozen=True)
class MapTask:
    """One batch to make: the rows' numbers and what decides their mirroring.

    Attributes:
        index: row numbers on this side, int64 [B].
        first: place of the first row in the epoch.
        key: key of the epoch's mirroring.
    """

    index: npt.NDArray[np.int64]
    first: int
    key: int


class MapRows(torch.utils.data.Dataset[PositionBatch]):
    """One side's rows in memory.

    Args:
        side: the rows.
        batch_size: rows of a batch.
        seed: seed of the order.
        mirror_probability: share of the rows to mirror.
        joined: one array for all shards (`memory`) instead of one each (`file`).
    """

    def __init__(
        self,
        side: SideRows,
        batch_size: int,
        seed: int,
        mirror_probability: float = 0.0,
        *,
        joined: bool = False,
    ) -> None:
        """Read all rows.

        Raises:
            DataError: a file cannot be read.
        """
        self.side = side
        self.batch_size = batch_size
        self.seed = seed
        self.mirror_probability = mirror_probability
        self._parts, counts = _read_all(side, joined=joined)
        self._starts = np.cumsum([0, *counts])

    def share(self) -> None:
        """Move the rows to shared memory, so that worker processes need no copy."""
        for part in self._parts:
            for tensor in part:
                tensor.share_memory_()  # type: ignore[no-untyped-call]

    def _rows(self, part: int) -> Any:
        return self.side.kind.from_arrays([t.numpy() for t in self._parts[part]])

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        return batch_count(self.side.count, self.batch_size)

    def tasks(self, epoch: int, start: int = 0) -> Iterator[MapTask]:
        """Yield the batches of an epoch from number `start` on."""
        order = map_order(self.side.count, self.seed, epoch)
        key = mirror_key(self.seed, epoch)
        for number in range(start, len(self)):
            first = number * self.batch_size
            yield MapTask(order[first : first + self.batch_size], first, key)

    def __getitem__(self, task: MapTask) -> PositionBatch:
        """Make a batch.

        Raises:
            DataError: a row is damaged.
        """
        rows, index = self._gather(task.index)
        mirrored_B = choose_mirrored(
            task.first, len(index), task.key, self.mirror_probability
        )
        return self.side.kind.encode(
            rows, index, lambda at: self._locate(task, index, at), mirrored_B
        )

    def _gather(
        self, wanted: npt.NDArray[np.int64]
    ) -> tuple[Any, npt.NDArray[np.int64]]:
        """Return rows and the index into them that gives the wanted rows in order."""
        if len(self._parts) == 1:
            return self._rows(0), wanted
        kind = self.side.kind
        part_of = np.searchsorted(self._starts, wanted, side="right") - 1
        grouped = np.argsort(part_of, kind="stable")
        taken = []
        for part in np.unique(part_of):
            here = wanted[grouped[part_of[grouped] == part]]
            taken.append(kind.take(self._rows(int(part)), here - self._starts[part]))
        index = np.empty(len(wanted), dtype=np.int64)
        index[grouped] = np.arange(len(wanted))
        return kind.join(taken), index

    def _locate(self, task: MapTask, index: npt.NDArray[np.int64], at: int) -> str:
        """Name the file and row of an element of the rows that a batch is made of."""
        place = 0 if index is task.index else int(np.flatnonzero(index == at)[0])
        row = at if index is task.index else int(task.index[place])
        ends: Sequence[int] = np.cumsum(self.side.bounds[:, 3]).tolist()
        number = bisect.bisect_right(ends, row)
        block = self.side.block(number)
        return self.side.locate(block, row - ends[number] + block.count)


def _read_all(
    side: SideRows, *, joined: bool
) -> tuple[list[tuple[torch.Tensor, ...]], list[int]]:
    """Read one side's rows, one part a shard or one in all; give their counts too."""
    numbers = side.bounds[:, 0]
    every = np.arange(len(numbers))
    groups = [every] if joined else [every[numbers == n] for n in np.unique(numbers)]
    parts = [
        tuple(torch.from_numpy(a) for a in side.kind.arrays(side.read_all(group)))
        for group in groups
    ]
    return parts, [int(side.bounds[group, 3].sum()) for group in groups]
