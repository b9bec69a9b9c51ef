"""Putting rows in the order of their hashes, through files where memory is too small.

Rows are divided by the first bits of their hash; each part is then small enough to be
ordered in memory, and the parts follow each other.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from maou.sources.bigquery_rows import ORDER, RowForm

PART_BYTES = 32 << 20
"""About what a part holds; some times as much is in memory."""

MOST_BITS = 14


class Ordering:
    """Takes rows in any order, and gives them in that of their content."""

    def __init__(self, form: RowForm, rows: int, place: Path) -> None:
        """Begin without rows.

        Args:
            form: what the rows are.
            rows: about how many will come.
            place: what the names of the parts' files begin with.
        """
        self._form, self._place = form, place
        parts = rows * form.row_bytes // PART_BYTES
        self._bits = min(MOST_BITS, parts.bit_length())
        self._held: list[Any] = []
        self._bytes = 0

    def add(self, batch: Any) -> None:
        """Take a record batch with the column of hashes."""
        self._held.append(batch)
        self._bytes += batch.nbytes
        if self._bits and self._bytes >= PART_BYTES:
            self._spill()

    def _file(self, part: int) -> Path:
        return self._place.with_name(f"{self._place.name}-{part}")

    def _spill(self) -> None:
        """Append the rows that are held to the files of their parts."""
        if not self._held:
            return
        table = pa.Table.from_batches(self._held)
        self._held, self._bytes = [], 0
        parts = table.column(ORDER).to_numpy() >> np.uint64(64 - self._bits)
        order = np.argsort(parts, kind="stable")
        table = table.take(order)
        bounds = np.searchsorted(parts[order], np.arange(2**self._bits + 1))
        for part in np.flatnonzero(np.diff(bounds)).tolist():
            rows = table.slice(bounds[part], bounds[part + 1] - bounds[part])
            with (
                self._file(part).open("ab") as stream,
                pa.ipc.new_stream(stream, table.schema) as writer,
            ):
                writer.write_table(rows)

    def tables(self) -> Iterator[Any]:
        """Yield all rows in order, without the column of hashes, and forget them."""
        if self._bits:
            self._spill()
            for part in range(2**self._bits):
                path = self._file(part)
                if path.exists():
                    yield self._ordered(_read(path))
                    path.unlink()
        elif self._held:
            held, self._held = self._held, []
            yield self._ordered(pa.Table.from_batches(held))

    def _ordered(self, table: Any) -> Any:
        order = table.column(ORDER).to_numpy()
        rows = np.argsort(order, kind="stable")
        table = table.take(rows)
        order = order[rows]
        if (order[1:] == order[:-1]).any():
            table = self._told_apart(table, order)
        return table.drop_columns([ORDER])

    def _told_apart(self, table: Any, order: Any) -> Any:
        """Order rows of one hash by all of what they hold."""
        if self._form.sorted_by:
            names = [n for n in self._form.sorted_by if n in table.schema.names]
            keys = [(name, "ascending") for name in (ORDER, *names)]
            return table.sort_by(keys)
        bounds = np.flatnonzero(order[1:] != order[:-1]) + 1
        rows = np.arange(len(order))
        for run in np.split(rows, bounds):
            if len(run) > 1:
                held = table.slice(int(run[0]), len(run)).to_pylist()
                run[:] = run[sorted(range(len(run)), key=lambda i: repr(held[i]))]
        return table.take(rows)


def _read(path: Path) -> Any:
    """Read the streams of which a part's file consists."""
    size = path.stat().st_size
    tables = []
    with path.open("rb") as stream:
        while stream.tell() < size:
            with pa.ipc.open_stream(stream) as reader:
                tables.append(reader.read_all())
    return pa.concat_tables(tables)


def cut(tables: Iterable[Any], batch_rows: int, shard_rows: int) -> Iterator[Any]:
    """Cut ordered rows into record batches, none of which is in two shards.

    Args:
        tables: the rows.
        batch_rows: rows of a record batch; fewer only at the end of a shard.
        shard_rows: rows of a shard; fewer only in the last.

    Yields:
        Record batches.
    """
    held: Any = None
    written = 0
    for table in tables:
        held = table if held is None else pa.concat_tables([held, table])
        while held.num_rows >= (wanted := min(batch_rows, shard_rows - written)):
            yield _batch(held.slice(0, wanted))
            held = held.slice(wanted)
            written = (written + wanted) % shard_rows
    if held is not None and held.num_rows:
        yield _batch(held)


def _batch(table: Any) -> Any:
    (batch,) = table.combine_chunks().to_batches()
    return batch
