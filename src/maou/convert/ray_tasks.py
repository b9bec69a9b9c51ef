"""What the tasks of `--engine ray` do; nothing here knows of Ray.

A chunk is some pieces of one kind, spilled together. What comes of it is cut by the
first bits of the positions' ids, so that a task can add up one range of all chunks.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from maou import __version__
from maou.convert.merging import N_SIDES
from maou.convert.preprocess_input import Piece
from maou.convert.spill import WORDS, Entries, Grouped, combined, grouped, ids_of

Chunk = list[tuple[Piece, npt.NDArray[np.bool_]]]
"""Pieces, each with which of its rows are held out."""

Cut = list[Entries]
"""A range of a chunk: its entries by side; of a chunk of positions to leave out, which
count for both sides, one item."""


def version() -> str:
    """Return the version of maou where this runs."""
    return __version__


def spill_chunk(chunk: Chunk, bits: int, wanted: Sequence[int]) -> list[int | Cut]:
    """Add up the rows of a chunk and cut them into ranges.

    Args:
        chunk: the rows, all of them to be left out or none.
        bits: how many first bits of an id are the number of its range.
        wanted: the ranges to give.

    Returns:
        The number of entries, and then the wanted ranges.

    Raises:
        DataError: a row is no sample.
    """
    made: list[list[Entries]] = [[] for _ in range(N_SIDES)]
    for piece, held in chunk:
        # What comes from the object store cannot be written to; kernels are compiled
        # for arrays that can.
        mine = piece._replace(rows=piece.rows.copy())
        for parts, part in zip(made, mine.sides(held.copy()), strict=True):
            parts.append(part)
    excluded = chunk[0][0].excluded
    sides = [_added(parts) for parts in made[: 1 if excluded else N_SIDES]]
    cuts: list[list[Entries]] = [[] for _ in wanted]
    for entries in sides:
        numbers = ids_of(entries) >> np.uint64(64 - bits)
        firsts = np.array(wanted, dtype=np.uint64)
        starts = np.searchsorted(numbers, firsts)
        stops = np.searchsorted(numbers, firsts, side="right")
        for cut, start, stop in zip(cuts, starts, stops, strict=True):
            cut.append(entries[start:stop])
    return [sum(len(entries) for entries in sides), *cuts]


def merge_range(*cuts: Cut) -> list[Grouped]:
    """Add up a range of all chunks, side by side.

    Raises:
        DataError: a position occurs too often to be counted.
    """
    return [
        grouped(_added([cut[side] if len(cut) > 1 else cut[0] for cut in cuts]))
        for side in range(N_SIDES)
    ]


def _added(parts: list[Entries]) -> Entries:
    """Add up the entries of several arrays."""
    entries = np.concatenate([np.empty((0, WORDS), dtype=np.uint64), *parts])
    return combined(entries, ids_of(entries))
