"""`.feather` files (Arrow IPC) of preprocess records."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from maou.errors import DataError
from maou.records.arrow import ArrowFile
from maou.records.preprocess import DENSE, PackedBlock, Records, joined
from maou.records.preprocess_shards import (
    DenseShard,
    PackedShard,
    kind_of_fields,
    not_of_kind,
    require,
    require_sound,
)
from maou.records.shards import require_rows
from maou.shogi.hcp import HCP_BYTES
from maou.shogi.labels import N_LABELS
from maou.shogi.pieces import HAND_SIZE
from maou.shogi.squares import N_SQUARES

_MOVE_FIELDS = [
    pa.field("label", pa.uint16(), nullable=False),
    pa.field("count", pa.uint32(), nullable=False),
    pa.field("wins", pa.uint32(), nullable=False),
]
_PACKED_FIELDS: "list[pa.Field[Any]]" = [
    pa.field("hcp", pa.binary(HCP_BYTES), nullable=False),
    pa.field("count", pa.uint32(), nullable=False),
    pa.field(
        "moves",
        pa.list_(pa.field("item", pa.struct(_MOVE_FIELDS), nullable=False)),
        nullable=False,
    ),
]
PACKED_SCHEMA = pa.schema(_PACKED_FIELDS)


def _numbers(kind: Any, size: int) -> Any:
    return pa.list_(pa.field("item", kind, nullable=False), size)


_DENSE_FIELDS: "list[pa.Field[Any]]" = [
    pa.field("id", pa.uint64(), nullable=False),
    pa.field("boardIdPositions", _numbers(pa.uint8(), N_SQUARES), nullable=False),
    pa.field("piecesInHand", _numbers(pa.uint8(), HAND_SIZE), nullable=False),
    pa.field("moveLabel", _numbers(pa.float16(), N_LABELS), nullable=False),
    pa.field("resultValue", pa.float16(), nullable=False),
    pa.field("count", pa.uint32(), nullable=False),
    pa.field("moveWinRate", _numbers(pa.float16(), N_LABELS), nullable=False),
]
DENSE_SCHEMA = pa.schema(_DENSE_FIELDS)


class PackedFeather(PackedShard):
    """A packed shard as an Arrow IPC file."""

    def __init__(self, path: Path) -> None:
        """Check the schema, and count the rows of the record batches."""
        self._file = _open_arrow(path, PACKED_SCHEMA, "packed")
        self.path, self.rows = path, self._file.rows

    def block_bounds(self, target: int) -> npt.NDArray[np.int64]:
        """Cut the rows at record batches, joining those smaller than `target`."""
        return self._file.block_bounds(target)

    def codes(self, start: int, stop: int) -> npt.NDArray[np.uint8]:
        """Read the position codes of rows [start, stop)."""
        pieces = self._file.pieces(start, stop, ["hcp"])
        return np.concatenate([_fixed(piece.column("hcp")) for piece in pieces])

    def read(self, start: int, stop: int) -> PackedBlock:
        """Read positions [start, stop) with their moves."""
        blocks, at = [], start
        for piece in self._file.pieces(start, stop, PACKED_SCHEMA.names):
            _require_no_nulls(self.path, at, piece)
            lists = piece.column("moves")
            ends = lists.offsets.to_numpy().astype(np.int64)
            moves = lists.flatten()
            label, count, wins = (
                moves.field(i).to_numpy(zero_copy_only=False) for i in range(3)
            )
            offsets = ends - ends[0]
            filled = np.diff(offsets) > 0
            require(self.path, at, filled, "it has no move")
            block = PackedBlock(
                _fixed(piece.column("hcp")), offsets, label, count, wins
            )
            counts = piece.column("count").to_numpy()
            require_sound(self.path, at, block, counts)
            blocks.append(block)
            at += piece.num_rows
        return joined(blocks)


class DenseFeather(DenseShard):
    """A dense shard as an Arrow IPC file."""

    def __init__(self, path: Path) -> None:
        """Check the schema, and count the rows of the record batches."""
        self._file = _open_arrow(path, DENSE_SCHEMA, "dense")
        self.path, self.rows = path, self._file.rows

    def block_bounds(self, target: int) -> npt.NDArray[np.int64]:
        """Cut the rows at record batches, joining those smaller than `target`."""
        return self._file.block_bounds(target)

    def read(self, start: int, stop: int) -> Records:
        """Read positions [start, stop)."""
        rows = np.empty(stop - start, dtype=DENSE)
        at = 0
        for piece in self._file.pieces(start, stop, DENSE_SCHEMA.names):
            _require_no_nulls(self.path, start + at, piece)
            part = rows[at : at + piece.num_rows]
            for name in DENSE_SCHEMA.names:
                column = piece.column(name)
                if pa.types.is_fixed_size_list(column.type):
                    column = column.flatten()
                values = column.to_numpy(zero_copy_only=False)
                part[name] = values.reshape(part[name].shape)
            at += piece.num_rows
        return rows


def _open_arrow(path: Path, wanted: Any, kind: str) -> ArrowFile:
    file = ArrowFile(path)
    with file.open() as reader:
        names = reader.schema.names
        if kind_of_fields(names) != kind:
            raise DataError(not_of_kind(path, kind, names))
        found = {name: reader.schema.field(name).type for name in set(names)}
        wrong = [
            f"{field.name} is {found.get(field.name, 'missing')}, not {field.type}"
            for field in wanted
            if names.count(field.name) != 1
            or _plain(found[field.name]) != _plain(field.type)
        ]
        if wrong:
            raise DataError(f"{path}: wrong column types: {'; '.join(wrong)}")
    file.measure("count")
    require_rows(path, file.rows)
    return file


def _plain(kind: Any) -> Any:
    """Return a type without what it says on nulls, which are looked for in the rows."""
    if pa.types.is_struct(kind):
        fields: Any = [pa.field(part.name, _plain(part.type)) for part in kind]
        return pa.struct(fields)
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_plain(kind.value_type), kind.list_size)
    return pa.list_(_plain(kind.value_type)) if pa.types.is_list(kind) else kind


def _fixed(column: Any) -> npt.NDArray[np.uint8]:
    data = np.frombuffer(column.buffers()[1], dtype=np.uint8)
    begin = column.offset * HCP_BYTES
    return data[begin : begin + len(column) * HCP_BYTES].reshape(-1, HCP_BYTES)


def _require_no_nulls(path: Path, first: int, batch: Any) -> None:
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if column.null_count:
            row = first + column.is_null().to_pylist().index(True)
            raise DataError(f"{path}: row {row}: {name} is missing (null)")
        inner = column.flatten() if pa.types.is_nested(column.type) else None
        if inner is not None and (
            inner.null_count
            or (
                pa.types.is_struct(inner.type)
                and any(part.null_count for part in inner.flatten())
            )
        ):
            raise DataError(
                f"{path}: rows {first} to {first + batch.num_rows - 1}: {name} lacks a "
                "value (null)"
            )
