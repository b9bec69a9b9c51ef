"""Rows of BigQuery as rows of our shards, and an order that they have of themselves.

BigQuery has no order of rows, and gives them in another one each time. So that a run
can be repeated, rows are ordered by a hash of what they hold: it is the same however
they come, and as good as a shuffle.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from maou.errors import DataError
from maou.records.game_ids import keys_of_arrow_text
from maou.records.hcpe import RAW_FIELDS
from maou.records.keys import key_of, keyed_hash
from maou.records.preprocess import position_ids
from maou.records.preprocess_feather import DENSE_SCHEMA, PACKED_SCHEMA
from maou.records.write import BATCH_ROWS
from maou.records.write_preprocess import DENSE_BATCH, PACKED_BATCH
from maou.shogi.hcp import HCP_BYTES
from maou.sources.bigquery_schema import (
    DENSE_COLUMNS,
    HCPE_COLUMNS,
    PACKED_COLUMNS,
    SIDE,
    Column,
)

ORDER = "_order"
"""The column that holds the hash while rows are put in order."""

_SALT = key_of(0x6F72646572)  # "order": keeps this use apart from others

Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class RowForm:
    """One kind of record, as a table holds it and as a shard does.

    Attributes:
        columns: what a table must have, or may have.
        schema: the fields of a shard; those that a table lacks are left out.
        hashes: gives a number for each row of a record batch of that schema.
        batch_rows: rows of a record batch of a shard.
        shard_rows: the most rows of a shard, whatever is asked for.
        row_bytes: about the bytes of a row in memory.
        sorted_by: fields that tell rows of one hash apart; empty where only all of
            what they hold does.
    """

    columns: tuple[Column, ...]
    schema: Any
    hashes: Callable[[Any], Hashes]
    batch_rows: int
    shard_rows: int
    row_bytes: int
    sorted_by: tuple[str, ...] = ()

    @property
    def sided(self) -> bool:
        """Whether a table of it may say on which side of the split a row is."""
        return SIDE in self.columns

    def converted(self, where: str, batch: Any) -> Any:
        """Give rows as a shard holds them, with their order.

        Args:
            where: the table, for messages.
            batch: rows as BigQuery gives them; columns may be in any order.

        Raises:
            DataError: a value is missing, or does not fit.
        """
        fields: Any = [f for f in self.schema if f.name in batch.schema.names]
        columns = []
        for field in fields:
            column = batch.column(field.name)
            if column.null_count:
                raise DataError(f"{where}: column {field.name}: a row has no value")
            try:
                columns.append(_cast(column, field.type))
            except _MisfitError as error:
                raise DataError(f"{where}: column {field.name}: {error}") from error
        made: Any = pa.record_batch(columns, schema=pa.schema(fields))
        order = pa.array(keyed_hash(self.hashes(made), _SALT))
        return made.append_column(pa.field(ORDER, pa.uint64()), order)


class _MisfitError(Exception):
    """A value that a shard cannot hold."""


def _cast(column: Any, wanted: Any) -> Any:
    """Cast a column; a value that does not fit is an error, never another value.

    Raises:
        MisfitError: there is one.
    """
    if pa.types.is_fixed_size_list(wanted):
        lengths = pc.list_value_length(column)
        if not pc.all(pc.equal(lengths, wanted.list_size)).as_py():
            raise _MisfitError(f"an array has not {wanted.list_size} elements")
        elements = _cast(column.flatten(), wanted.value_type)
        arrays: Any = pa.FixedSizeListArray
        return arrays.from_arrays(elements, type=wanted)
    if column.null_count:
        raise _MisfitError("a value is NULL within")
    if pa.types.is_list(wanted):
        lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False)
        offsets: Any = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
        elements = _cast(column.flatten(), wanted.value_type)
        return pa.ListArray.from_arrays(offsets, elements, type=wanted)
    if pa.types.is_struct(wanted):
        parts = [_cast(pc.struct_field(column, f.name), f.type) for f in wanted]
        return pa.StructArray.from_arrays(parts, fields=list(wanted))
    try:
        return _cast_plain(column, wanted)
    except (pa.ArrowException, OverflowError, ValueError) as error:
        raise _MisfitError(f"a value is not {_in_words(wanted)}") from error


def _cast_plain(column: Any, wanted: Any) -> Any:
    if pa.types.is_float16(wanted):
        numbers = column.to_numpy(zero_copy_only=False)
        return pa.array(numbers.astype(np.float16))
    if pa.types.is_uint64(wanted):  # the same 64 bits
        return pa.array(column.to_numpy().view(np.uint64))
    if pa.types.is_fixed_size_binary(wanted):
        return column.cast(pa.binary()).cast(wanted)
    return column.cast(wanted)


def _in_words(wanted: Any) -> str:
    if pa.types.is_fixed_size_binary(wanted):
        return f"{wanted.byte_width} bytes"
    if pa.types.is_integer(wanted):
        limits = np.iinfo(str(wanted))  # the same names
        return f"within {limits.min} to {limits.max}"
    return f"a {wanted}"


def _codes(batch: Any) -> npt.NDArray[np.uint8]:
    column = batch.column("hcp")
    data = np.frombuffer(column.buffers()[1], dtype=np.uint8)
    begin = column.offset * HCP_BYTES
    return data[begin : begin + len(column) * HCP_BYTES].reshape(-1, HCP_BYTES)


def _hash_hcpe(batch: Any) -> Hashes:
    """Hash all fields; the id tells the many first positions of games apart."""
    low, middle, high = (
        batch.column(name).to_numpy().astype(np.int64).view(np.uint64)
        for name in RAW_FIELDS[1:]
    )
    rest = low ^ (middle << np.uint64(16)) ^ (high << np.uint64(32))
    hashed = position_ids(_codes(batch)) ^ keyed_hash(rest, 1)
    if "id" in batch.schema.names:
        hashed ^= keyed_hash(keys_of_arrow_text(batch.column("id")), 2)
    return hashed


def _hash_packed(batch: Any) -> Hashes:
    return position_ids(_codes(batch))


def _hash_dense(batch: Any) -> Hashes:
    hashed: Hashes = batch.column("id").to_numpy()
    return hashed


_HCPE_FIELDS: "list[pa.Field[Any]]" = [
    pa.field("hcp", pa.binary(HCP_BYTES), nullable=False),
    pa.field("eval", pa.int16(), nullable=False),
    pa.field("bestMove16", pa.uint16(), nullable=False),
    pa.field("gameResult", pa.uint8(), nullable=False),
    pa.field("id", pa.string(), nullable=False),
]

FORMS: Mapping[str, RowForm] = {
    "hcpe": RowForm(
        columns=HCPE_COLUMNS,
        schema=pa.schema(_HCPE_FIELDS),
        hashes=_hash_hcpe,
        batch_rows=BATCH_ROWS,
        shard_rows=10_000_000,
        row_bytes=100,
        sorted_by=tuple(field.name for field in _HCPE_FIELDS),
    ),
    "packed": RowForm(
        columns=PACKED_COLUMNS,
        schema=PACKED_SCHEMA,
        hashes=_hash_packed,
        batch_rows=PACKED_BATCH,
        shard_rows=10_000_000,
        row_bytes=150,
    ),
    "dense": RowForm(
        columns=DENSE_COLUMNS,
        schema=DENSE_SCHEMA,
        hashes=_hash_dense,
        batch_rows=DENSE_BATCH,
        shard_rows=100_000,
        row_bytes=6200,
    ),
}
"""The kinds of records by their names."""
