"""The map-style dataset: all rows in memory, in a fully shuffled order.

`file` keeps one array a shard and finds a row's shard by binary search; `memory` joins
the arrays into one.
"""

import bisect
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from maou.data import activity
from maou.data.batch import PositionBatch
from maou.data.mirroring import choose_mirrored
from maou.data.order import batch_count, map_order, mirror_key
from maou.data.reading import BlockReader
from maou.data.rows import SideRows
from maou.errors import TrainingError

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux keeps shared memory


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
        cache_limit: hold hcpe rows decoded if they need at most so many bytes.
    """

    def __init__(
        self,
        side: SideRows,
        batch_size: int,
        seed: int,
        mirror_probability: float = 0.0,
        *,
        joined: bool = False,
        cache_limit: int = 0,
    ) -> None:
        """Read nothing yet; all rows are read for the first batch."""
        self.side = side
        self.batch_size = batch_size
        self.seed = seed
        self.mirror_probability = mirror_probability
        self.reader = BlockReader(side, cache_limit)
        self._joined = joined
        self._parts: list[tuple[torch.Tensor, ...]] = []
        self._starts = np.zeros(1, dtype=np.int64)

    def load(self) -> None:
        """Read all rows, unless that is done.

        Raises:
            DataError: a file cannot be read.
        """
        if self._parts:
            return
        numbers = self.side.bounds[:, 0]
        every = np.arange(len(numbers))
        groups = [every[numbers == shard] for shard in np.unique(numbers)]
        counts = []
        for group in [every] if self._joined else groups:
            rows = self.reader.read_all(group)
            arrays = self.reader.kind.arrays(rows)
            self._parts.append(tuple(torch.from_numpy(array) for array in arrays))
            counts.append(int(self.side.bounds[group, 3].sum()))
        self._starts = np.cumsum([0, *counts])

    def share(self) -> None:
        """Read all rows into shared memory, so that worker processes need no copy.

        Raises:
            DataError: a file cannot be read.
            TrainingError: there is too little shared memory.
        """
        self.load()
        needed = sum(tensor.nbytes for part in self._parts for tensor in part)
        room = shared_room()
        if room is not None and needed > room:
            raise TrainingError(
                f"--dataloader-workers need {needed / 1e6:,.0f} MB of shared memory "
                f"for the rows, and {SHARED_MEMORY} has {room / 1e6:,.0f} MB left; "
                "use --streaming or --dataloader-workers 0"
            )
        for part in self._parts:
            for tensor in part:
                tensor.share_memory_()  # type: ignore[no-untyped-call]

    def _rows(self, part: int) -> Any:
        return self.reader.kind.from_arrays([t.numpy() for t in self._parts[part]])

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
            DataError: a row is damaged, or (for the first batch) a file cannot be read.
        """
        self.load()
        number = task.first // self.batch_size
        activity.note(activity.MAKING, number)
        rows, index = self._gather(task.index)
        mirrored_B = choose_mirrored(
            task.first, len(index), task.key, self.mirror_probability
        )
        batch = self.reader.kind.encode(
            rows, index, lambda at: self._locate(task, index, at), mirrored_B
        )
        activity.note(activity.MADE, number)
        return batch

    def _gather(
        self, wanted: npt.NDArray[np.int64]
    ) -> tuple[Any, npt.NDArray[np.int64]]:
        """Return rows and the index into them that gives the wanted rows in order."""
        if len(self._parts) == 1:
            return self._rows(0), wanted
        kind = self.reader.kind
        part_of = np.searchsorted(self._starts, wanted, side="right") - 1
        grouped = np.argsort(part_of, kind="stable")
        ends = np.cumsum(np.bincount(part_of, minlength=len(self._parts)))
        taken = []
        for part, end in enumerate(ends):
            here = wanted[grouped[ends[part - 1] if part else 0 : end]]
            if len(here):
                taken.append(kind.take(self._rows(part), here - self._starts[part]))
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


def shared_room() -> int | None:
    """Return how many bytes of shared memory are left; None where nobody knows."""
    if not SHARED_MEMORY.is_dir():
        return None
    return shutil.disk_usage(SHARED_MEMORY).free
