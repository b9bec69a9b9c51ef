"""Writing shards of preprocess records: packed or dense, npy or feather.

Positions are asked for a batch at a time, so a shard of any length needs the memory of
one batch. The bytes depend on the positions and the form alone.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from maou.files import atomic_write
from maou.records.preprocess import (
    DENSE,
    MOVE,
    POSITION,
    PackedBlock,
    Records,
    dense_rows,
    packed_dtype,
    totals,
)
from maou.records.preprocess_feather import DENSE_SCHEMA, PACKED_SCHEMA

PREPROCESS_FORMATS = ("npy", "feather")

PACKED_BATCH, DENSE_BATCH = 16_384, 1_024
"""Positions a record batch of `.feather`: about 1 MB packed, 6 MB dense."""

MAX_PACKED_BYTES = 2**31 - 1
"""numpy keeps the size of a record in a C int."""

Reader = Callable[[int, int], PackedBlock]
"""Gives positions [start, stop) of those to write."""


def write_preprocess_shard(
    path: Path, read: Reader, positions: int, moves: int, packed: bool
) -> None:
    """Write positions as one shard, all of it or nothing.

    Args:
        path: the shard; its suffix, `.npy` or `.feather`, decides the container.
        read: gives any run of the positions, from 0 to `positions`.
        positions: how many there are.
        moves: how many moves they have in all.
        packed: whether to write them packed.

    Raises:
        OSError: the disk is full, or the folder cannot be written to.
    """
    batch = PACKED_BATCH if packed else DENSE_BATCH
    with atomic_write(path) as stream:
        if path.suffix == ".npy":
            shape = () if packed else (positions,)
            dtype = packed_dtype(positions, moves) if packed else DENSE
            write_npy_header(stream, dtype, shape)
            write = _NpyPacked(stream, positions) if packed else _NpyDense(stream)
            for start in range(0, positions, batch):
                write(read(start, min(start + batch, positions)))
            return
        schema: Any = PACKED_SCHEMA if packed else DENSE_SCHEMA
        sink: Any = stream
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with pa.ipc.new_file(sink, schema, options=options) as writer:
            for start in range(0, positions, batch):
                block = read(start, min(start + batch, positions))
                made = packed_batch(block) if packed else dense_batch(block)
                writer.write_batch(made)


def write_npy_header(
    stream: BinaryIO, dtype: "np.dtype[Any]", shape: tuple[int, ...]
) -> None:
    """Begin a `.npy` file of an array that is written behind, bit by bit."""
    header = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": shape,
    }
    np.lib.format.write_array_header_1_0(stream, header)


class _NpyPacked:
    """Writes positions and moves, each to its own part of the file."""

    def __init__(self, stream: BinaryIO, positions: int) -> None:
        self._stream = stream
        self._positions_at = stream.tell()
        self._moves_at = self._positions_at + positions * POSITION.itemsize
        self._moves = 0

    def __call__(self, block: PackedBlock) -> None:
        positions, moves = packed_records(block, self._moves)
        self._stream.seek(self._positions_at)
        self._stream.write(positions.tobytes())
        self._positions_at = self._stream.tell()
        self._stream.seek(self._moves_at)
        self._stream.write(moves.tobytes())
        self._moves_at = self._stream.tell()
        self._moves += len(moves)


class _NpyDense:
    """Writes dense rows one behind the other."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def __call__(self, block: PackedBlock) -> None:
        self._stream.write(dense_rows(block).tobytes())


def packed_records(block: PackedBlock, first_move: int) -> tuple[Records, Records]:
    """Lay a block out as the records of a packed `.npy` shard."""
    positions = np.empty(len(block.codes), dtype=POSITION)
    positions["hcp"] = block.codes
    positions["count"] = totals(block)
    positions["end"] = block.offsets[1:] + first_move
    moves = np.empty(len(block.labels), dtype=MOVE)
    moves["label"], moves["count"] = block.labels, block.counts
    moves["wins"] = block.wins
    return positions, moves


def packed_batch(block: PackedBlock) -> Any:
    """Lay positions out as a packed record batch."""
    hcp = np.ascontiguousarray(block.codes)
    moves = pa.StructArray.from_arrays(
        [pa.array(block.labels), pa.array(block.counts), pa.array(block.wins)],
        fields=list(PACKED_SCHEMA.field("moves").type.value_type),
    )
    offsets: Any = pa.array(block.offsets.astype(np.int32))
    columns = [
        pa.Array.from_buffers(
            PACKED_SCHEMA.field("hcp").type, len(hcp), [None, pa.py_buffer(hcp.data)]
        ),
        pa.array(totals(block)),
        pa.ListArray.from_arrays(
            offsets, moves, type=PACKED_SCHEMA.field("moves").type
        ),
    ]
    return pa.record_batch(columns, schema=PACKED_SCHEMA)


def dense_batch(block: PackedBlock) -> Any:
    """Spread positions out as a dense record batch."""
    return dense_rows_batch(dense_rows(block))


def dense_rows_batch(rows: Records) -> Any:
    """Lay dense records out as a record batch."""
    columns: list[Any] = []
    for field in DENSE_SCHEMA:
        values = np.ascontiguousarray(rows[field.name])
        if pa.types.is_fixed_size_list(field.type):
            flat: Any = pa.array(values.reshape(-1))
            kind: Any = field.type
            columns.append(pa.FixedSizeListArray.from_arrays(flat, type=kind))
        else:
            columns.append(pa.array(values))
    return pa.record_batch(columns, schema=DENSE_SCHEMA)
