"""The rows of one side of the split: which they are and where they lie.

A source's rows are cut into blocks, each cheap to read by itself. A side (training or
validation) has some rows of each block. This module knows the numbers; datasets read.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maou.data.split import Split
from maou.records.shards import Rows, Shard

BLOCK_ROWS = 1024
"""Rows of a block: 38 kB raw, enough for a disk to read in one go."""


@dataclass(frozen=True)
class Block:
    """Rows [start, stop) of one shard, of which `count` are on this side."""

    shard: int
    start: int
    stop: int
    count: int


@dataclass(frozen=True)
class SideRows:
    """One side's rows of all shards.

    Attributes:
        shards: the opened shards.
        split: which rows are held out.
        validation: whether this is the validation side.
        bounds: blocks as int64 [blocks, 4]: shard, start, stop, count. Blocks
            without a row of this side are left out.
    """

    shards: tuple[Shard, ...]
    split: Split
    validation: bool
    bounds: npt.NDArray[np.int64]

    @property
    def count(self) -> int:
        """Number of rows on this side."""
        return int(self.bounds[:, 3].sum())

    def block(self, number: int) -> Block:
        """Return one block."""
        return Block(*(int(value) for value in self.bounds[number]))

    def chosen(self, block: Block) -> npt.NDArray[np.int64]:
        """Return this side's row numbers (in the shard) of a block, int64 [count]."""
        mask = self.split.mask(block.shard, block.start, block.stop)
        rows = np.flatnonzero(mask if self.validation else ~mask)
        return rows + block.start

    def read(self, block: Block) -> Rows:
        """Read this side's rows of a block, uint8 [count, 38]."""
        rows = self.shards[block.shard].read(block.start, block.stop)
        if block.count == len(rows):
            return rows
        return rows[self.chosen(block) - block.start]

    def locate(self, block: Block, offset: int) -> str:
        """Name the file and row of this side's `offset`-th row of a block."""
        row = int(self.chosen(block)[offset])
        return f"{self.shards[block.shard].path}: row {row}"


def side_rows(shards: tuple[Shard, ...], split: Split, *, validation: bool) -> SideRows:
    """Count one side's rows block by block."""
    parts = []
    for number, shard in enumerate(shards):
        cuts = shard.block_bounds(BLOCK_ROWS)
        mask = split.mask(number, 0, shard.rows)
        held = np.add.reduceat(mask, cuts[:-1], dtype=np.int64)
        counts = held if validation else np.diff(cuts) - held
        shard_column = np.full(len(counts), number, dtype=np.int64)
        table = np.stack([shard_column, cuts[:-1], cuts[1:], counts], axis=1)
        parts.append(table[counts > 0])
    return SideRows(shards, split, validation, np.concatenate(parts))
