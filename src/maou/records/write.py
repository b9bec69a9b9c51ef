"""Writing shards of hcpe records: feather, npy or raw.

Takes rows in memory and leaves one complete file, or none after a crash. The bytes
depend on the rows and the container alone.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from maou.errors import DataError
from maou.files import atomic_write
from maou.records.hcpe import HCPE, RAW_FIELDS

BATCH_ROWS = 16_384
"""Rows a record batch: the least that a reader of `.feather` loads at once. About 2 MB,
so that a reader can jump about in a shard, yet large enough for LZ4 to pay."""

CONTAINERS = ("feather", "npy", "hcpe")
"""The containers, each the suffix of its files."""

_FIELDS: "list[pa.Field[Any]]" = [
    pa.field("hcp", pa.binary(HCPE["hcp"].itemsize), nullable=False),
    pa.field("eval", pa.int16(), nullable=False),
    pa.field("bestMove16", pa.uint16(), nullable=False),
    pa.field("gameResult", pa.uint8(), nullable=False),
    pa.field("id", pa.string(), nullable=False),
    pa.field("partitioningKey", pa.date32()),
    pa.field("ratings", pa.list_(pa.uint16(), 2), nullable=False),
    pa.field("endgameStatus", pa.string(), nullable=False),
    pa.field("moves", pa.int16(), nullable=False),
]
_SCHEMA = pa.schema(_FIELDS)


def write_hcpe_shard(path: Path, rows: npt.NDArray[Any], container: str) -> None:
    """Write rows as one shard, all of it or nothing.

    Args:
        path: the shard; its suffix should be the container's.
        rows: records of `records.hcpe.rich_dtype`, any id width. The raw container
            needs only the four raw fields and keeps nothing else.
        container: `feather` (Arrow IPC, LZ4, record batches of 16,384 rows), `npy`
            (the structured array itself) or `hcpe` (38 bytes a row).

    Raises:
        DataError: no such container, or the rows lack its fields.
        OSError: the disk is full, or the folder cannot be written to.
    """
    fields = {"feather": _SCHEMA.names, "npy": _SCHEMA.names, "hcpe": RAW_FIELDS}
    if container not in fields:
        raise DataError(
            f"{path}: {container!r} is not an hcpe container; known are "
            f"{', '.join(CONTAINERS)}"
        )
    missing = [
        name for name in fields[container] if name not in (rows.dtype.names or ())
    ]
    if missing:
        raise DataError(
            f"{path}: rows for a {container} shard lack {', '.join(missing)}"
        )
    with atomic_write(path) as stream:
        if container == "feather":
            _write_feather(stream, rows)
        elif container == "npy":
            np.lib.format.write_array(stream, np.ascontiguousarray(rows))
        else:
            stream.write(_raw(rows).tobytes())


def _raw(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if rows.dtype == HCPE:
        return rows
    raw = np.zeros(len(rows), dtype=HCPE)
    for name in RAW_FIELDS:
        raw[name] = rows[name]
    return raw


def _write_feather(stream: Any, rows: npt.NDArray[Any]) -> None:
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.ipc.new_file(stream, _SCHEMA, options=options) as writer:
        for start in range(0, len(rows), BATCH_ROWS):
            writer.write_batch(hcpe_batch(rows[start : start + BATCH_ROWS]))


def hcpe_batch(rows: npt.NDArray[Any]) -> Any:
    """Lay rich records out as a record batch."""
    count = len(rows)
    hcp = np.ascontiguousarray(rows["hcp"])
    ratings = pa.array(np.ascontiguousarray(rows["ratings"]).reshape(-1), pa.uint16())
    columns = [
        pa.Array.from_buffers(
            _SCHEMA.field("hcp").type, count, [None, pa.py_buffer(hcp.data)]
        )
    ]
    columns += [
        pa.array(np.ascontiguousarray(rows[name]), _SCHEMA.field(name).type)
        for name in ("eval", "bestMove16", "gameResult")
    ]
    columns += [
        _text(rows["id"]),
        pa.array(np.ascontiguousarray(rows["partitioningKey"]), pa.date32()),
        pa.FixedSizeListArray.from_arrays(ratings, type=_SCHEMA.field("ratings").type),
        _text(rows["endgameStatus"]),
        pa.array(np.ascontiguousarray(rows["moves"]), pa.int16()),
    ]
    return pa.record_batch(columns, schema=_SCHEMA)


def _text(column: npt.NDArray[Any]) -> Any:
    return pa.array(np.ascontiguousarray(column), pa.binary()).cast(pa.string())
