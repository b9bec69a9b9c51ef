"""Positions of a table added up by BigQuery: the split by game, and a GROUP BY.

The game's key, the position and the move are columns that maou made when it loaded the
table (`ADDING_UP_COLUMNS`). The hash of the split is calculated in SQL, to the bit what
`records.keys` calculates. BigQuery's whole numbers are signed, and it refuses those
that outgrow 64 bits, so a hash is two numbers of 32 bits, and products are put together
from such that fit.
"""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from maou.errors import DataError, RemoteError
from maou.records.keys import GOLDEN, MIX_1, MIX_2
from maou.sources.bigquery import Table, select
from maou.sources.bigquery_jobs import JOB_SECONDS, BigQueryJobs
from maou.sources.bigquery_schema import ADDING_UP_COLUMNS, differences
from maou.sources.bigquery_storage import StorageReader
from maou.sources.object_store import READ_TIMEOUT
from maou.sources.streams import merged

KEY, CODE, LABEL, POINTS = (column.name for column in ADDING_UP_COLUMNS)
SUMS = ("held", CODE, LABEL, "amount", POINTS)
"""The columns that come back."""

_BITS_32 = 2**32 - 1
_SIGN = 2**63
_KEPT = timedelta(days=2)


class Sides(NamedTuple):
    """What the split would do to a table's rows.

    Attributes:
        low, high: the least and the greatest hash of a game.
        rows: all rows.
        held: those below the threshold.
    """

    low: int
    high: int
    rows: int
    held: int


class BigQueryAddingUp(BigQueryJobs):
    """A table of positions of games whose rows are added up."""

    def require_columns(self, table: Table) -> None:
        """Check that SQL can add its rows up.

        Raises:
            DataError: it lacks columns, or is a view.
        """
        differing = differences(ADDING_UP_COLUMNS, table.columns)
        if differing or table.kind not in {"TABLE", "SNAPSHOT"}:
            what = "; ".join(differing) or f"it is a {table.kind.lower()}"
            raise DataError(
                f"{self.where}: cannot be added up by --engine bigquery: {what}. maou "
                "hcpe-convert --output-dataset-id makes tables that can; or use "
                "--engine threads, which fetches the rows"
            )

    def sides(self, table: Table, key: int, threshold: int) -> Sides:
        """Count the rows on each side of the split; reads 8 bytes a row.

        Args:
            table: the table.
            key: the key of the split.
            threshold: a game is held out whose hash is below.

        Raises:
            RemoteError: BigQuery cannot be reached, or refuses.
        """
        sql = (
            "SELECT MIN(v) AS low, MAX(v) AS high, COUNT(*) AS amount, "  # noqa: S608
            f"COUNTIF(v < @threshold) AS held FROM ({_hashed(table, key, ())})"
        )
        values = [("threshold", _signed(threshold))]
        (batch,) = self._queried(table, sql, values, 1)
        low, high, rows, held = (column[0].as_py() for column in batch.columns)
        return Sides(low + _SIGN, high + _SIGN, rows, held)

    def sums(
        self, table: Table, key: int, threshold: int, name: str, page_rows: int
    ) -> Iterator[Any]:
        """Add up equal (side, position, move), and fetch the sums.

        The job has a name, and its answer is a table beside the one it reads: who asks
        again finds it. It is dropped by `forget`, or drops itself after two days.

        Args:
            table: the table.
            key: the key of the split.
            threshold: a game is held out whose hash is below.
            name: names this work, for the job and its table.
            page_rows: the most rows of one page where rows come in pages.

        Yields:
            Record batches of `SUMS`, in no particular order.

        Raises:
            RemoteError: BigQuery cannot be reached, or refuses.
        """
        from google.cloud import bigquery

        sql = (
            f"SELECT v < @threshold AS held, {CODE}, {LABEL}, "  # noqa: S608
            f"COUNT(*) AS amount, SUM({POINTS}) AS {POINTS} "
            f"FROM ({_hashed(table, key, (CODE, LABEL, POINTS))}) "
            f"GROUP BY held, {CODE}, {LABEL}"
        )
        config = self._query_config(table, [("threshold", _signed(threshold))])
        config.destination = bigquery.TableReference.from_string(self._answer(name))
        config.write_disposition = "WRITE_TRUNCATE"

        def start() -> Any:
            def named() -> Any:
                job = self._named(
                    lambda identity: self._client.query(
                        sql,
                        config,
                        job_id=identity,
                        location=self.location or None,
                        retry=None,
                        timeout=READ_TIMEOUT,
                        job_retry=None,
                    ),
                    name,
                )
                job.result(page_size=1, retry=None, timeout=JOB_SECONDS, job_retry=None)
                return job

            return self._again(self._asked(named))

        job = start()
        self.remark = f"its job read {(job.total_bytes_processed or 0) / 1e6:,.1f} MB"
        self._let_expire(self._answer(name))
        try:
            reader = StorageReader(
                self._answer(name), self.project, self._credentials, self._retries
            )
            now = time.time_ns() // 1000
            streams = reader.streams("", SUMS, now, self._streams)
        except (RemoteError, ImportError):
            yield from self._rows_of(lambda: job, page_rows)
        else:
            yield from merged(streams, self._streams)

    def forget(self, name: str) -> None:
        """Drop the table of a job's answer."""
        self._drop(self._answer(name))

    def _answer(self, name: str) -> str:
        return f"{self.path.rsplit('.', 1)[0]}.{name.replace('-', '_')}"

    def _let_expire(self, path: str) -> None:
        """Have a table dropped if nobody comes for it."""
        table = self._table(path)
        if table is not None:
            table.expires = datetime.now(UTC) + _KEPT
            self._asked(
                lambda: self._client.update_table(
                    table, ["expires"], retry=None, timeout=READ_TIMEOUT
                )
            )


def _signed(threshold: int) -> int:
    """Give a hash as hashes are compared in SQL: shifted into signed numbers."""
    return min(threshold, 2**64 - 1) - _SIGN


def _hashed(table: Table, key: int, columns: tuple[str, ...]) -> str:
    """Write a query that gives each row's hash as `v`, with some columns.

    Each step is a query of the one before: `h` and `l` are the halves of the number.
    """
    kept = "".join(f", {name}" for name in columns)
    steps = _mix_steps(key)
    high, low = next(steps)
    sql = select(f"{high} AS h, {low} AS l{kept}", table)
    for high, low in steps:
        sql = f"SELECT {high} AS h, {low} AS l{kept} FROM ({sql})"  # noqa: S608
    # From 0 ... 2^64 - 1 to the signed numbers in the same order.
    return f"SELECT (h - {2**31}) * {2**32} + l AS v{kept} FROM ({sql})"  # noqa: S608


def _mix_steps(key: int) -> Iterator[tuple[str, str]]:
    """Write `keyed_hash` of the game's key step by step, as (high, low) expressions."""
    yield f"(({KEY} >> 32) & {_BITS_32})", f"({KEY} & {_BITS_32})"
    high, low = divmod(key, 2**32)
    yield _xor("h", str(high)), _xor("l", str(low))
    high, low = divmod(GOLDEN, 2**32)
    total = f"(l + {low})"
    yield f"((h + {high} + ({total} >> 32)) & {_BITS_32})", f"({total} & {_BITS_32})"
    for shift, factor in ((30, MIX_1), (27, MIX_2), (31, 0)):
        moved = f"((l >> {shift}) | ((h << {32 - shift}) & {_BITS_32}))"
        yield _xor("h", f"(h >> {shift})"), _xor("l", moved)
        if factor:
            yield _times(factor)


def _xor(left: str, right: str) -> str:
    return f"({left} ^ {right})"


def _times(factor: int) -> tuple[str, str]:
    """Write (h, l) times a number, modulo 2^64; no part outgrows 2^49."""
    high, low = divmod(factor, 2**32)
    upper = f"((l >> 16) * {low})"
    lower = f"((l & 65535) * {low} + (({upper} & 65535) << 16))"
    carried = f"({lower} >> 32) + ({upper} >> 16)"
    crossed = f"{_low_product('l', high)} + {_low_product('h', low)}"
    return f"(({carried} + {crossed}) & {_BITS_32})", f"({lower} & {_BITS_32})"


def _low_product(half: str, factor: int) -> str:
    """Write the last 32 bits of a product of two numbers of 32 bits."""
    upper = f"((({half} >> 16) * {factor}) & 65535)"
    return f"((({half} & 65535) * {factor} + ({upper} << 16)) & {_BITS_32})"
