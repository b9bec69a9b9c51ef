"""Packed positions for tests, made of real ones with invented counts."""

import numpy as np
import numpy.typing as npt

from maou.records.preprocess import PackedBlock
from maou.shogi.hcp import decode_hcp, encode_hcp


def made_block(rows: npt.NDArray[np.uint8]) -> PackedBlock:
    """Give each distinct position of some records one to four moves."""
    codes, _ = encode_hcp(*decode_hcp(rows)[:2])
    codes = np.unique(codes, axis=0)
    sizes = np.arange(len(codes)) % 4 + 1
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    moves = np.arange(int(offsets[-1]))
    labels = (moves - np.repeat(offsets[:-1], sizes)) * 373 + moves % 376
    counts = moves % 7 + 1
    return PackedBlock(
        codes,
        offsets,
        labels.astype(np.uint16),
        counts.astype(np.uint32),
        (moves % (2 * counts + 1)).astype(np.uint32),
    )


def part_of(block: PackedBlock, start: int, stop: int) -> PackedBlock:
    """Take positions [start, stop)."""
    first, last = block.offsets[start], block.offsets[stop]
    return PackedBlock(
        block.codes[start:stop],
        block.offsets[start : stop + 1] - first,
        *(column[first:last] for column in block[2:]),
    )
