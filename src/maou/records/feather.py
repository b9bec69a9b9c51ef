"""`.feather` files (Arrow IPC) of hcpe records: several record batches are normal.

Opening a shard reads the schema and one small column's batch lengths.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from maou.errors import DataError
from maou.records.arrow import ArrowFile
from maou.records.game_ids import keys_of_arrow_text
from maou.records.hcpe import HCPE, RAW_FIELDS
from maou.records.shards import GameKeys, Rows, Shard, empty_rows, require_rows
from maou.text import shortened

_INTEGERS = {"eval": pa.int16(), "bestMove16": pa.uint16(), "gameResult": pa.uint8()}
_HCP_BYTES = HCPE["hcp"].itemsize


class FeatherShard(Shard):
    """An Arrow IPC file, compressed or not."""

    def __init__(self, path: Path) -> None:
        """Read the footer and the schema.

        Raises:
            DataError: no such file, not Arrow IPC, or not hcpe records.
        """
        self._file = ArrowFile(path)
        self.path = path
        with self._file.open() as reader:
            schema = reader.schema
            _require_hcpe(path, schema)
            self.has_ids = "id" in schema.names
            id_type = schema.field("id").type if self.has_ids else None
        self._file.measure("gameResult")
        self.rows = self._file.rows
        require_rows(path, self.rows)
        if self.has_ids and not _is_text(id_type):
            raise DataError(f"{path}: column 'id' is {id_type}; a game id is text")

    def block_bounds(self, target: int) -> Any:
        """Cut the rows at record batches, joining those smaller than `target`."""
        return self._file.block_bounds(target)

    def read(self, start: int, stop: int) -> Rows:
        """Read records [start, stop)."""
        rows = empty_rows(stop - start)
        raw = rows.view(HCPE).reshape(-1)
        at = 0
        for batch in self._file.pieces(start, stop, list(RAW_FIELDS)):
            part = raw[at : at + batch.num_rows]
            for name in RAW_FIELDS:
                column = batch.column(name)
                if column.null_count:
                    row = start + at + column.is_null().to_pylist().index(True)
                    raise DataError(f"{self.path}: row {row}: {name} is missing (null)")
                if name == "hcp":
                    part["hcp"] = _hcp_bytes(self.path, column, start + at)
                else:
                    part[name] = column.to_numpy(zero_copy_only=False)
            at += batch.num_rows
        return rows

    def game_keys(self, start: int, stop: int) -> GameKeys:
        """Hash the game ids of records [start, stop)."""
        parts = []
        at = start
        for batch in self._file.pieces(start, stop, ["id"]):
            column = batch.column("id")
            if column.null_count:
                row = at + column.is_null().to_pylist().index(True)
                raise DataError(f"{self.path}: row {row}: id is missing (null)")
            parts.append(keys_of_arrow_text(column))
            at += batch.num_rows
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.uint64)


def _require_hcpe(path: Path, schema: Any) -> None:
    missing = [name for name in RAW_FIELDS if name not in schema.names]
    if missing:
        other = (
            " It looks like a preprocess shard." if "moveLabel" in schema.names else ""
        )
        raise DataError(
            f"{path}: not an hcpe shard: missing {', '.join(missing)} among its "
            f"columns {shortened(', '.join(schema.names))}.{other}"
        )
    double = [name for name in (*RAW_FIELDS, "id") if schema.names.count(name) > 1]
    if double:
        raise DataError(f"{path}: has more than one column named {', '.join(double)}")
    wrong = [
        f"{name} is {schema.field(name).type}, not {kind}"
        for name, kind in _INTEGERS.items()
        if schema.field(name).type != kind
    ]
    if not _is_bytes(schema.field("hcp").type):
        wrong.append(
            f"hcp is {schema.field('hcp').type}, not binary or a list of uint8"
        )
    if wrong:
        raise DataError(f"{path}: wrong column types: {'; '.join(wrong)}")


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_bytes(kind: Any) -> bool:
    if pa.types.is_fixed_size_binary(kind):
        return bool(kind.byte_width == _HCP_BYTES)
    if pa.types.is_fixed_size_list(kind):
        return bool(kind.list_size == _HCP_BYTES and kind.value_type == pa.uint8())
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return bool(kind.value_type == pa.uint8())
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _hcp_bytes(path: Path, column: Any, first_row: int) -> Rows:
    """Return a column of position codes as uint8 [n, 32]."""
    kind = column.type
    if pa.types.is_fixed_size_list(kind) or pa.types.is_fixed_size_binary(kind):
        if pa.types.is_fixed_size_list(kind):
            data = _list_bytes(path, column, first_row)
        else:
            data = np.frombuffer(column.buffers()[1], dtype=np.uint8)
            begin = column.offset * _HCP_BYTES
            data = data[begin : begin + len(column) * _HCP_BYTES]
        return np.asarray(data, dtype=np.uint8).reshape(-1, _HCP_BYTES)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        lengths = np.diff(column.offsets.to_numpy(zero_copy_only=False))
        data = _list_bytes(path, column, first_row)
    else:
        wide = pa.types.is_large_binary(kind)
        offsets = np.frombuffer(
            column.buffers()[1],
            dtype=np.int64 if wide else np.int32,
            count=column.offset + len(column) + 1,
        )[column.offset :]
        lengths = np.diff(offsets)
        data = np.frombuffer(column.buffers()[2] or b"", dtype=np.uint8)
        data = data[int(offsets[0]) : int(offsets[-1])]
    wrong = np.flatnonzero(lengths != _HCP_BYTES)
    if len(wrong):
        row = int(wrong[0])
        raise DataError(
            f"{path}: row {first_row + row}: hcp has {lengths[row]} bytes, not "
            f"{_HCP_BYTES}"
        )
    return np.asarray(data, dtype=np.uint8).reshape(-1, _HCP_BYTES)


def _list_bytes(path: Path, column: Any, first_row: int) -> Any:
    """Return the elements of a column of lists of uint8, one after the other."""
    elements = column.flatten()
    if elements.null_count:
        lists = column.to_pylist()
        row = next(row for row, codes in enumerate(lists) if None in codes)
        raise DataError(f"{path}: row {first_row + row}: hcp lacks a byte (null)")
    return elements.to_numpy(zero_copy_only=False)
