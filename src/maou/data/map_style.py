"""The map-style dataset: all rows in memory, in a fully shuffled order.

`file` keeps one array a shard and finds a row's shard by binary search; `memory` joins
the arrays into one.
"""

import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from maou.data.batch import Batch
from maou.data.encode import choose_mirrored, encode
from maou.data.order import batch_count, map_order, mirror_key
from maou.data.rows import SideRows
from maou.records.hcpe import HCPE_BYTES
from maou.records.shards import Rows


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


class MapRows(torch.utils.data.Dataset[Batch]):
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
        self._arrays = _read_all(side, joined=joined)
        self._starts = np.cumsum([0, *(len(array) for array in self._arrays)])

    def share(self) -> None:
        """Move the rows to shared memory, so that worker processes need no copy."""
        for array in self._arrays:
            array.share_memory_()  # type: ignore[no-untyped-call]

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

    def __getitem__(self, task: MapTask) -> Batch:
        """Make a batch.

        Raises:
            DataError: a row is damaged.
        """
        rows, index = self._gather(task.index)
        mirrored_B = choose_mirrored(
            task.first, len(index), task.key, self.mirror_probability
        )
        return encode(rows, index, lambda at: self._locate(task, index, at), mirrored_B)

    def _gather(
        self, wanted: npt.NDArray[np.int64]
    ) -> tuple[Rows, npt.NDArray[np.int64]]:
        """Return rows and the index into them that gives the wanted rows in order."""
        if len(self._arrays) == 1:
            return self._arrays[0].numpy(), wanted
        rows = np.empty((len(wanted), HCPE_BYTES), dtype=np.uint8)
        shard = np.searchsorted(self._starts, wanted, side="right") - 1
        for number in np.unique(shard):
            here = shard == number
            rows[here] = self._arrays[number].numpy()[
                wanted[here] - self._starts[number]
            ]
        return rows, np.arange(len(wanted), dtype=np.int64)

    def _locate(self, task: MapTask, index: npt.NDArray[np.int64], at: int) -> str:
        """Name the file and row of an element of the rows that were decoded."""
        row = at if index is task.index else int(task.index[at])
        ends: Sequence[int] = np.cumsum(self.side.bounds[:, 3]).tolist()
        number = bisect.bisect_right(ends, row)
        block = self.side.block(number)
        return self.side.locate(block, row - ends[number] + block.count)


def _read_all(side: SideRows, *, joined: bool) -> list[torch.Tensor]:
    """Read one side's rows as uint8 [n, 38], one tensor a shard or one in all."""
    numbers = side.bounds[:, 0]
    shards = np.unique(numbers)
    groups = (
        [np.arange(len(numbers))]
        if joined
        else [np.flatnonzero(numbers == shard) for shard in shards]
    )
    arrays = []
    for group in groups:
        count = int(side.bounds[group, 3].sum())
        rows = np.empty((count, HCPE_BYTES), dtype=np.uint8)
        at = 0
        for number in group:
            part = side.read(side.block(int(number)))
            rows[at : at + len(part)] = part
            at += len(part)
        arrays.append(torch.from_numpy(rows))
    return arrays
