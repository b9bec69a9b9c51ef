"""The rows of one side of the split: which they are and where they lie.

A source's rows are cut into blocks, each cheap to read by itself. A side (training or
validation) has some rows of each block. This module knows the numbers; datasets read.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from maou.data.kinds import HCPE_ROWS, RowKind
from maou.records.split import Split

BLOCK_ROWS = 1024
"""Rows of a block: 38 kB raw, enough for a disk to read in one go."""


class ReadableShard(Protocol):
    """A file of records of any kind."""

    path: Path
    rows: int

    def block_bounds(self, target: int) -> npt.NDArray[np.int64]:
        """Cut the rows into blocks that are cheap to read, int64 [blocks + 1]."""

    def read(self, start: int, stop: int) -> Any:
        """Read rows [start, stop)."""


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
        kind: what their records are.
        split: which rows are held out.
        validation: whether this is the validation side.
        bounds: blocks as int64 [blocks, 4]: shard, start, stop, count. Blocks
            without a row of this side are left out.
    """

    shards: tuple[ReadableShard, ...]
    kind: RowKind
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

    def read(self, block: Block) -> Any:
        """Read this side's rows of a block, as the kind holds them."""
        rows = self.shards[block.shard].read(block.start, block.stop)
        if block.count == block.stop - block.start:
            return rows
        return self.kind.take(rows, self.chosen(block) - block.start)

    def read_all(self, numbers: npt.NDArray[np.int64]) -> Any:
        """Read this side's rows of several blocks, in the given order."""
        return self.kind.join([self.read(self.block(int(n))) for n in numbers])

    def locate(self, block: Block, offset: int) -> str:
        """Name the file and row of this side's `offset`-th row of a block."""
        row = int(self.chosen(block)[offset])
        return f"{self.shards[block.shard].path}: row {row}"


def side_rows(
    shards: tuple[ReadableShard, ...],
    split: Split,
    *,
    validation: bool,
    kind: RowKind = HCPE_ROWS,
) -> SideRows:
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
    return SideRows(shards, kind, split, validation, np.concatenate(parts))
