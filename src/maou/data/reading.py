"""Reading blocks of rows, and keeping them decoded where that was asked for.

Which rows come out, and the batches made of them, are the same with and without.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from maou.data import activity
from maou.data.batch import BYTES_PER_POSITION
from maou.data.decoded import DECODED_ROWS, decode_rows
from maou.data.kinds import HCPE_ROWS, HcpeRows, RowKind
from maou.data.rows import SideRows


class BlockReader:
    """Reads one side's blocks.

    Raw hcpe records are decoded here if all of them fit into the limit when decoded;
    else they stay raw, and batches are decoded one by one. Other records are decoded by
    their shards.

    Args:
        side: the rows.
        limit: bytes that decoded rows may take; 0 decodes nothing here.
        keep: whether to keep what was read for the next epoch, up to the limit.

    Attributes:
        kind: what the rows are that `read_all` returns.
        caching: what becomes of decoded rows, for people; empty if nothing was asked.
    """

    def __init__(self, side: SideRows, limit: int = 0, *, keep: bool = False) -> None:
        """Read nothing yet."""
        self.side = side
        self.kind: RowKind = side.kind
        self.caching = ""
        self._room = 0
        self._kept: dict[int, Any] = {}
        raw = side.kind is HCPE_ROWS
        needed = side.count * BYTES_PER_POSITION
        self._decodes = raw and 0 < needed <= limit
        if self._decodes:
            self.kind = DECODED_ROWS
            self.caching = f"all rows stay decoded in memory, {_megabytes(needed)}"
        elif raw and limit:
            self.caching = (
                f"rows are decoded for each batch: all of them decoded would need "
                f"{_megabytes(needed)}, above the limit of {_megabytes(limit)}"
            )
        elif limit:
            self.caching = f"up to {_megabytes(limit)} of rows stay decoded in memory"
        if keep and (self._decodes or not raw):
            self._room = limit

    def read_all(self, numbers: npt.NDArray[np.int64]) -> Any:
        """Read several blocks, in the given order.

        Raises:
            DataError: a file cannot be read, or a record that is decoded by its shard
                is damaged.
        """
        blocks = (self._read(int(number)) for number in numbers)
        if not isinstance(self.kind, HcpeRows):
            return self.kind.join(list(blocks))
        # One array, filled as it comes: joining parts would need twice the memory.
        rows: npt.NDArray[np.uint8] | None = None
        at = 0
        for block in blocks:
            if rows is None:
                total = int(self.side.bounds[numbers, 3].sum())
                rows = np.empty((total, block.shape[1]), dtype=np.uint8)
            rows[at : at + len(block)] = block
            at += len(block)
        return rows

    def _read(self, number: int) -> Any:
        if number in self._kept:
            return self._kept[number]
        block = self.side.block(number)
        activity.note(activity.READING, block.shard, block.start, block.stop)
        rows = self.side.read(block)
        if self._decodes:
            rows = decode_rows(rows)
        size = sum(array.nbytes for array in self.kind.arrays(rows))
        if size <= self._room:
            self._kept[number] = rows
            self._room -= size
        return rows


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.0f} MB"
