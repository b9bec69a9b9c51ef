"""Shards as rows of a table: Arrow batches in BigQuery's types, and Parquet files."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from maou.errors import DataError
from maou.records.arrow import ArrowFile
from maou.records.game_ids import keys_of_arrow_text
from maou.records.hcpe import HCPE, HCPE_BYTES, RAW_FIELDS
from maou.records.preprocess_npy import DenseNpy, PackedNpy
from maou.records.write import BATCH_ROWS, hcpe_batch
from maou.records.write_preprocess import (
    DENSE_BATCH,
    PACKED_BATCH,
    dense_rows_batch,
    packed_batch,
)
from maou.shogi.hcp import HCP_BYTES, encode_hcp
from maou.shogi.samples import SAMPLE_STATUS_TEXT, decode_samples
from maou.sources.bigquery_schema import ADDING_UP_COLUMNS, SIDE, Column

HCPE_KIND, PACKED_KIND, DENSE_KIND = "hcpe", "packed", "dense"

_TYPES: dict[str, Any] = {
    "BYTES": pa.binary(),
    "INT64": pa.int64(),
    "STRING": pa.string(),
    "DATE": pa.date32(),
    "FLOAT64": pa.float64(),
}


def schema_of(columns: Sequence[Column]) -> Any:
    """Give the Arrow schema that Parquet files for a table have."""
    return pa.schema([_field(column) for column in columns])


def _field(column: Column) -> Any:
    kind: Any = _TYPES.get(column.kind)
    if column.parts:
        kind = pa.struct([_field(part) for part in column.parts])
    if column.repeated:
        kind = pa.list_(pa.field("element", kind, nullable=False))
    return pa.field(column.name, kind, nullable=not (column.needed or column.repeated))


def table_batches(
    path: Path, kind: str, columns: Sequence[Column], side: str = ""
) -> Iterator[Any]:
    """Read a shard as record batches of a table.

    Args:
        path: a shard that maou wrote, `.feather` or `.npy`.
        kind: `hcpe` (rich), `packed` or `dense`.
        columns: the table's columns.
        side: which side of the split its positions are on; empty for hcpe.

    Raises:
        DataError: the shard is not what it should be.
    """
    schema = schema_of(columns)
    for batch in _shard_batches(path, kind):
        made: dict[str, Any] = {name: batch.column(name) for name in batch.schema.names}
        if side:
            made[SIDE.name] = pa.array([side] * batch.num_rows)
        if kind == HCPE_KIND:
            made.update(_for_adding_up(path, batch))
        arrays = [_widened(made[field.name], field.type) for field in schema]
        yield pa.record_batch(arrays, schema=schema)


def _shard_batches(path: Path, kind: str) -> Iterator[Any]:
    if path.suffix == ".feather":
        with ArrowFile(path).open() as reader:
            for number in range(reader.num_record_batches):
                yield reader.get_batch(number)
        return
    if kind == HCPE_KIND:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
        for start in range(0, len(rows), BATCH_ROWS):
            yield hcpe_batch(rows[start : start + BATCH_ROWS])
        return
    if kind == PACKED_KIND:
        packed = PackedNpy(path)
        for start, stop in _bounds(packed.rows, PACKED_BATCH):
            yield packed_batch(packed.read(start, stop))
        return
    dense = DenseNpy(path)
    for start, stop in _bounds(dense.rows, DENSE_BATCH):
        yield dense_rows_batch(dense.read(start, stop))


def _bounds(rows: int, step: int) -> Iterator[tuple[int, int]]:
    return itertools.pairwise([*range(0, rows, step), rows])


def _for_adding_up(path: Path, batch: Any) -> dict[str, Any]:
    """Make the columns that SQL adds positions up by (see `ADDING_UP_COLUMNS`).

    Raises:
        DataError: a row is no sample.
    """
    rows = np.zeros((batch.num_rows, HCPE_BYTES), dtype=np.uint8)
    raw = rows.view(HCPE).reshape(-1)
    for name in RAW_FIELDS[1:]:
        raw[name] = batch.column(name).to_numpy()
    raw["hcp"] = fixed_bytes(batch.column("hcp"))
    samples = decode_samples(rows)
    bad = np.flatnonzero(samples.status_B)
    if len(bad):
        text = SAMPLE_STATUS_TEXT[int(samples.status_B[bad[0]])]
        raise DataError(f"{path}: a row is no sample: {text}")
    codes, _ = encode_hcp(samples.board_BS, samples.hand_BH)
    keys = keys_of_arrow_text(batch.column("id"))
    made: Sequence[Any] = (
        pa.array(keys.view(np.int64)),
        pa.Array.from_buffers(
            pa.binary(HCP_BYTES), len(codes), [None, pa.py_buffer(codes.data)]
        ),
        pa.array(samples.label_B.astype(np.int64)),
        pa.array((samples.value_B * 2).astype(np.int64)),
    )
    return dict(zip((c.name for c in ADDING_UP_COLUMNS), made, strict=True))


def fixed_bytes(column: Any) -> Any:
    """View a column of position codes, all 32 bytes, as uint8 [n, 32].

    Raises:
        ValueError: one has another length.
    """
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        try:
            column = column.cast(pa.binary(HCP_BYTES))
        except pa.ArrowException as error:
            raise ValueError(str(error)) from error
    data = np.frombuffer(column.buffers()[1], dtype=np.uint8)
    begin = column.offset * HCP_BYTES
    return data[begin : begin + len(column) * HCP_BYTES].reshape(-1, HCP_BYTES)


def _widened(column: Any, wanted: Any) -> Any:
    """Cast a shard's column to the table's type, which holds every value of it."""
    if column.type == wanted:
        return column
    if pa.types.is_list(wanted):
        lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False)
        offsets: Any = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
        elements = _widened(column.flatten(), wanted.value_type)
        return pa.ListArray.from_arrays(offsets, elements, type=wanted)
    if pa.types.is_struct(wanted):
        parts = [_widened(pc.struct_field(column, f.name), f.type) for f in wanted]
        return pa.StructArray.from_arrays(parts, fields=list(wanted))
    if pa.types.is_uint64(column.type):  # an id: the same 64 bits
        return pa.array(column.to_numpy().view(np.int64))
    if pa.types.is_float16(column.type):
        return pa.array(column.to_numpy(zero_copy_only=False).astype(np.float64))
    return column.cast(wanted)


def next_file(
    batches: Iterable[Any], schema: Any, most: int, stream: BinaryIO | None
) -> int:
    """Write batches to a Parquet file until it has enough rows.

    Args:
        batches: where to take them from.
        schema: theirs.
        most: with so many rows or more the file is full.
        stream: where to write; None to pass over these rows.

    Returns:
        The rows of the file; 0 when there are no more batches.
    """
    rows = 0
    writer = None
    for batch in batches:
        if stream is not None:
            if writer is None:
                writer = pq.ParquetWriter(stream, schema, compression="zstd")
            writer.write_batch(batch)
        rows += batch.num_rows
        if rows >= most:
            break
    if writer is not None:
        writer.close()
    return rows
