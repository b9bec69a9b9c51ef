"""Bringing the rows of a table into the cache, page by page, as shards.

The cache holds, under hashes of the table, its version and what is read of it:

    <hash>.pages              the pages of the table, where it is read in several
    <hash>.page               the shards of a page; written when all of them are there
    <hash>-<number>.feather   the shards

So a start that finds all of them asks what the table is and moves no row, and one that
was stopped goes on after the last whole page.
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from maou.errors import DataError, RemoteError
from maou.sources.bigquery import BigQueryDataSource, Table
from maou.sources.bigquery_ordering import Ordering, cut
from maou.sources.bigquery_pages import Page, Value
from maou.sources.bigquery_rows import RowForm
from maou.sources.bigquery_schema import SIDE
from maou.sources.cache import Cache, Lease, entry_name

SIDES = ("train", "validation")

_REST_BYTES = 4 << 20
"""About what one page of a query's rows may have; as JSON it is some times as much."""


@dataclass(frozen=True)
class TableShard:
    """A shard: its name for people, its entry of the cache, its rows and bytes."""

    name: str
    entry: str
    rows: int
    size: int


class TableFetch:
    """Brings the rows of one table into one cache."""

    def __init__(
        self,
        source: BigQueryDataSource,
        table: Table,
        form: RowForm,
        columns: Mapping[str, str],
        cache: Cache,
        shard_rows: int,
        tell: Callable[[str], None],
    ) -> None:
        """Take the table and the cache.

        Args:
            source: where rows come from.
            table: what was asked about.
            form: what its rows are.
            columns: the columns to read, by our names.
            cache: where the shards go.
            shard_rows: the most rows of one.
            tell: called with lines about the progress.
        """
        self._source, self._table, self._form = source, table, form
        self._columns, self._cache = columns, cache
        self._shard_rows, self._tell = shard_rows, tell
        self._read = 0
        self._held: list[Lease] = []
        self._identity = (
            *("bigquery", table.path, table.version, str(shard_rows)),
            *columns,
        )

    def describe(self, files: list[TableShard]) -> str:
        """Say where the rows came from."""
        rows = sum(file.rows for file in files)
        how = "the Storage Read API" if self._source.by_storage else "pages of a query"
        text = f"{self._source.where}: {rows:,} rows in {len(files)} shards, "
        if not self._read:
            return f"{text}all cached"
        others = "" if self._read == rows else ", the others cached"
        return f"{text}{self._read:,} fetched by {how}{others}"

    def all(self, paged_by: str) -> tuple[list[TableShard], Lease]:
        """Give all shards in order, and what keeps them in the cache.

        Args:
            paged_by: the column whose values make the pages; empty for one page.
        """
        pages = self._pages(paged_by)
        entries = [entry_name(".page", *self._identity, *p.identity) for p in pages]
        known = [self._shards(entry) for entry in entries]
        sizes = {file.entry: file.size for files in known for file in files or ()}
        missing = [p.rows for p, files in zip(pages, known, strict=True) if not files]
        room = sum(missing) * self._form.row_bytes
        self._held.append(self._cache.reserve(sizes, room))
        self._held.append(self._cache.protect(entries))
        found = []
        for page, entry in zip(pages, entries, strict=True):
            found += self._shards(entry) or self._fetch(page, entry)
        lease = self._cache.reserve(
            {
                **{file.entry: file.size for file in found},
                **{entry: self._cache.path(entry).stat().st_size for entry in entries},
            }
        )
        for held in self._held:
            held.release()
        return found, lease

    def _pages(self, column: str) -> list[Page]:
        """Give the pages, which are asked for only once."""
        if not column:
            return [Page(self._table.rows)]
        entry = entry_name(".pages", *self._identity, column)
        path = self._cache.path(entry)
        kinds = {c.name.lower(): c.kind for c in self._table.columns}
        is_date = kinds.get(column.lower(), "DATE") == "DATE"
        with self._cache.adding(entry):
            if not path.exists():
                asked = self._source.pages(self._table, column, self._shard_rows)
                listed = [(p.rows, p.low, p.high) for p in asked]
                self._note(entry, listed, f"pages by {column}")
            noted: list[tuple[int, Any, Any]] = json.loads(path.read_text())

        def value(text: Any) -> Value | None:
            return date.fromisoformat(text) if is_date and text is not None else text

        return [Page(rows, column, value(a), value(b)) for rows, a, b in noted]

    def _shards(self, entry: str) -> list[TableShard] | None:
        """Give the shards of a page; None if not all are there."""
        try:
            noted = json.loads(self._cache.path(entry).read_text())
        except FileNotFoundError:
            return None
        files = [TableShard(*item) for item in noted]
        whole = all(self._cache.has(file.entry, file.size) for file in files)
        return files if whole else None

    def _note(self, entry: str, data: object, what: str) -> None:
        """Add an entry that says something about others; within `adding`."""
        with self._cache.part(entry) as stream:
            stream.truncate(0)
            stream.write(json.dumps(data, default=str).encode())
        about = {"table": self._table.path, "version": self._table.version}
        self._cache.commit(entry, {**about, "what": what})

    def _fetch(self, page: Page, entry: str) -> list[TableShard]:
        """Bring the shards of a page."""
        stem = entry.removesuffix(".page")
        with self._cache.adding(entry):
            files = self._shards(entry)
            if files:
                return files  # another run has brought them meanwhile
            with self._cleared(stem):
                sides = self._ordered(page, stem)
                files = []
                for side, ordering in sides.items():
                    files += self._written(page, side, ordering, stem, len(files))
            self._note(entry, [list(vars(file).values()) for file in files], page.name)
        return files

    @contextlib.contextmanager
    def _cleared(self, stem: str) -> Iterator[None]:
        """Remove unfinished files of a page, before and after."""

        def clear() -> None:
            for path in self._cache.part_path(stem).parent.glob(f"{stem}-*"):
                path.unlink()

        clear()
        try:
            yield
        finally:
            clear()

    def _ordered(self, page: Page, stem: str) -> dict[str, Ordering]:
        """Read the rows of a page into their orders, one for each side."""
        sided = SIDE.name in self._columns
        sides = {
            side: Ordering(
                self._form, page.rows, self._cache.part_path(f"{stem}-{side}")
            )
            for side in (SIDES if sided else ("",))
        }
        ours = {theirs: name for name, theirs in self._columns.items()}
        page_rows = min(self._shard_rows, _REST_BYTES // self._form.row_bytes)
        rows, told = 0, self._read
        reading = self._source.read(
            self._table, page, list(self._columns.values()), page_rows
        )
        with contextlib.closing(reading):  # or its threads would wait for a while
            for batch in reading:
                named = batch.rename_columns([ours[n] for n in batch.schema.names])
                for side, ordering in sides.items():
                    part = self._of_side(named, side) if sided else named
                    if part.num_rows:
                        ordering.add(self._form.converted(self._source.where, part))
                rows += batch.num_rows
                if (self._read + rows - told) * 10 >= self._table.rows:
                    told = self._read + rows
                    self._tell(f"fetched {told:,} of {self._table.rows:,} rows")
        self._require(page, rows)
        self._read += rows
        return sides

    def _of_side(self, batch: Any, side: str) -> Any:
        """Choose the rows of one side.

        Raises:
            DataError: a row is of neither.
        """
        sides = batch.column(SIDE.name)
        if not pc.all(pc.is_in(sides, pa.array(SIDES))).as_py():
            raise DataError(
                f"{self._source.where}: column {SIDE.name}: a value is neither "
                f"{' nor '.join(SIDES)}"
            )
        return batch.filter(pc.equal(sides, pa.scalar(side)))

    def _require(self, page: Page, rows: int) -> None:
        """Check that a page has the rows that it should have.

        Raises:
            RemoteError: it has others, so they are not those of the snapshot.
        """
        if rows != page.rows and (page.column or self._table.is_settled):
            raise RemoteError(
                f"{self._source.where}: {rows:,} rows came where {page.rows:,} were "
                "announced: it was changed meanwhile; start again"
            )

    def _written(
        self, page: Page, side: str, ordering: Ordering, stem: str, first: int
    ) -> list[TableShard]:
        """Write ordered rows as shards."""
        files = []
        batches = cut(ordering.tables(), self._form.batch_rows, self._shard_rows)
        for number, shard in enumerate(_grouped(batches, self._shard_rows)):
            parts = (side, page.name, f"{number:05}.feather")
            name = "/".join(part for part in parts if part)
            entry = f"{stem}-{first + number:05}.feather"
            rows = self._write(entry, shard)
            size = self._cache.part_path(entry).stat().st_size
            self._held.append(self._cache.protect([entry]))
            about = {"table": self._table.path, "version": self._table.version}
            self._cache.commit(entry, {**about, "shard": name})
            files.append(TableShard(name, entry, rows, size))
        return files

    def _write(self, entry: str, batches: Iterator[Any]) -> int:
        rows = 0
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with self._cache.part(entry) as stream:
            stream.truncate(0)
            sink: Any = stream
            writer: Any = None
            for batch in batches:
                if writer is None:
                    writer = pa.ipc.new_file(sink, batch.schema, options=options)
                writer.write_batch(batch)
                rows += batch.num_rows
            writer.close()
        return rows


def _grouped(batches: Iterator[Any], shard_rows: int) -> Iterator[Iterator[Any]]:
    """Divide record batches into shards; each must be used up before the next."""

    def one(batch: Any) -> Iterator[Any]:
        rows = 0
        while True:
            yield batch
            rows += batch.num_rows
            if rows >= shard_rows:
                return
            following = next(batches, None)
            if following is None:
                return
            batch = following

    for batch in batches:
        yield one(batch)
