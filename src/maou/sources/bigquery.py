"""A table of BigQuery (extra `gcp`): what it is, and its rows as Arrow batches.

Credentials and project come from Google's application default chain alone:
environment, gcloud, service account. BIGQUERY_EMULATOR_HOST names an emulator, as for
Google's SDK, and BIGQUERY_STORAGE_EMULATOR_HOST (`host:port`) its Storage API, for
which the SDK has no variable; no credentials are sent there.

Rows come by the Storage Read API, in several streams at a time, or else by a query and
its pages. Both read the table as it was at one moment, and neither keeps an order.
"""

import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from maou.errors import RemoteError
from maou.sources.bigquery_errors import asked, plain_errors
from maou.sources.bigquery_pages import Page, TableName, Value, group_values
from maou.sources.bigquery_schema import Column, column_of
from maou.sources.bigquery_storage import EPOCH, StorageReader
from maou.sources.fetch import DEFAULT_RETRIES, Retries
from maou.sources.object_store import READ_TIMEOUT, TransientError, missing_extra
from maou.sources.secrecy import cap_sdk_logs
from maou.sources.streams import merged

_QUERY_SECONDS = 600
_LEAST_BILLED = 10 << 20
"""BigQuery bills at least 10 MiB for each table of a query."""

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"


@dataclass(frozen=True)
class Table:
    """A table as it was when it was asked for.

    Attributes:
        path: its full name.
        kind: `TABLE`, `VIEW` and so on.
        columns: its columns.
        rows, bytes: its size; the rows that are still in the streaming buffer are
            estimated among the rows, and not counted among the bytes.
        version: what changes with its content.
        is_settled: whether `rows` and `version` tell everything, that is, whether no
            rows are in the streaming buffer.
        snapshot: the moment of which its rows are read, microseconds since 1970; None
            where they never change.
        partition: the date column it is partitioned by, empty if there is none.
        clustering: the columns it is clustered by.
        needs_filter: whether it can only be asked for some partitions at a time.
    """

    path: str
    kind: str
    columns: tuple[Column, ...]
    rows: int
    bytes: int
    version: str
    is_settled: bool
    snapshot: int | None
    partition: str
    clustering: tuple[str, ...]
    needs_filter: bool


class BigQueryDataSource:
    """One table of BigQuery."""

    provider = "bigquery"
    flags = "--input-dataset-id", "--input-table-name"

    def __init__(
        self, name: TableName, streams: int, retries: Retries = DEFAULT_RETRIES
    ) -> None:
        """Make a client; no request is sent.

        Args:
            name: the table.
            streams: how many streams to read at a time.
            retries: what to do when a request fails.

        Raises:
            ConfigError: google-cloud-bigquery is not installed.
            RemoteError: there are no credentials, or no project.
        """
        try:
            from google.cloud import bigquery
        except ImportError as error:
            raise missing_extra(self.flags[0], "gcp") from error
        cap_sdk_logs()
        self._streams, self._retries = streams, retries
        self.where = f"BigQuery {name.dataset}.{name.table}"
        self._credentials, project = self._authenticated()
        with plain_errors(self.where):
            self._client: Any = bigquery.Client(project, self._credentials)
        self.project = project
        self.name = name
        self.path = name.path(project)
        self.where = f"BigQuery {self.path}"
        self.by_storage = True
        self._storage: StorageReader | None = None
        self.remark = ""

    def _authenticated(self) -> tuple[Any, str]:
        """Find the credentials and the project that pays."""
        import google.auth
        from google.auth.credentials import AnonymousCredentials

        if os.environ.get("BIGQUERY_EMULATOR_HOST"):
            credentials: Any = AnonymousCredentials()
            project = os.environ.get("GOOGLE_CLOUD_PROJECT")
        else:
            with plain_errors(self.where):
                credentials, project = google.auth.default(scopes=[_SCOPE])
        if not project:
            raise RemoteError(
                f"{self.where}: no project to work in; name it in GOOGLE_CLOUD_PROJECT "
                "(or gcloud config set project)"
            )
        return credentials, project

    def describe(self) -> Table:
        """Ask what the table is, and fix the moment of which its rows are read.

        Raises:
            RemoteError: it cannot be had.
        """
        # Before the question: then the answer is about what is read.
        now = time.time_ns() // 1000
        found: Any = asked(
            self.where,
            self._retries,
            lambda: self._client.get_table(self.path, retry=None, timeout=READ_TIMEOUT),
        )
        changed = (found.modified - EPOCH) // timedelta(microseconds=1)
        buffered = found.streaming_buffer
        is_settled = buffered is None
        snapshot = max(now, changed + 1000)
        # Not the ETag: it may be another one when only statistics are.
        made = (found.created - EPOCH) // timedelta(microseconds=1)
        version = f"{made} {changed} {found.num_rows} {found.num_bytes}"
        kind = found.table_type or "TABLE"
        by_time = found.to_api_repr().get("timePartitioning") or {}
        partition = by_time.get("field") or ("_PARTITIONDATE" if by_time else "")
        return Table(
            path=self.path,
            kind=kind,
            columns=tuple(column_of(field.to_api_repr()) for field in found.schema),
            rows=(found.num_rows or 0)
            + (0 if is_settled else buffered.estimated_rows or 0),
            bytes=found.num_bytes or 0,
            version=version if is_settled else f"{version} {snapshot}",
            is_settled=is_settled,
            snapshot=None if kind == "SNAPSHOT" else snapshot,
            partition=partition,
            clustering=tuple(found.clustering_fields or ()),
            needs_filter=bool(found.require_partition_filter)
            or bool(by_time.get("requirePartitionFilter")),
        )

    def pages(self, table: Table, column: str, target: int) -> Iterator[Page]:
        """Ask for the values of a column, and join them into pages.

        Args:
            table: the table.
            column: the column.
            target: about how many rows a page has.

        Raises:
            RemoteError: it cannot be had.
        """
        sql = select(f"`{column}` AS value, COUNT(*) AS amount", table)
        sql += " GROUP BY 1 ORDER BY 1"
        batches = self._queried(table, sql, [], 50_000)
        counts: Iterator[tuple[Value | None, int]] = (
            (value, amount)
            for batch in batches
            for value, amount in zip(
                *(c.to_pylist() for c in batch.columns), strict=True
            )
        )
        return group_values(column, counts, target)

    def read(
        self, table: Table, page: Page, columns: Sequence[str], page_rows: int
    ) -> Generator[Any]:
        """Read rows, as record batches in no particular order.

        Args:
            table: the table.
            page: which rows.
            columns: the columns to read.
            page_rows: the most rows of one page where rows come in pages.

        Raises:
            RemoteError: they cannot be had.
        """
        if self.by_storage:
            try:
                if self._storage is None:
                    self._storage = StorageReader(
                        self.path, self.project, self._credentials, self._retries
                    )
                streams = self._storage.streams(
                    page.restriction(), columns, table.snapshot, self._streams
                )
            except (RemoteError, ImportError) as error:
                self.by_storage = False
                self.remark = (
                    "rows come as pages of a query, for want of the Storage Read API: "
                    f"{error}"
                )
            else:
                yield from merged(streams, self._streams)
                return
        sql = select(", ".join(f"`{name}`" for name in columns), table)
        condition = page.condition("@low", "@high")
        if condition:
            sql += f" WHERE {condition}"
        values = [] if page.low is None else [("low", page.low), ("high", page.high)]
        yield from self._queried(table, sql, values, page_rows)

    def _queried(
        self,
        table: Table,
        sql: str,
        values: Sequence[tuple[str, Value | None]],
        page_rows: int,
    ) -> Iterator[Any]:
        """Run a query; read its rows page by page."""
        config = self._query_config(table, values)
        yield from self._rows_of(lambda: self._started(sql, config), page_rows)

    def _query_config(
        self, table: Table, values: Sequence[tuple[str, Value | None]]
    ) -> Any:
        """Give a query its parameters, and a limit of what it may cost."""
        from google.cloud import bigquery

        # No query of ours can cost more than the whole table, or what streams into it.
        most = table.bytes * (1 if table.is_settled else 2)
        return bigquery.QueryJobConfig(
            maximum_bytes_billed=max(most, _LEAST_BILLED),
            query_parameters=[
                bigquery.ScalarQueryParameter(name, _parameter_type(value), value)
                for name, value in values
            ],
        )

    def _rows_of(self, start: Callable[[], Any], page_rows: int) -> Iterator[Any]:
        """Read a query's rows page by page.

        Args:
            start: starts the query; called again when it failed.
            page_rows: the most rows of a page.
        """
        job: Any = None
        done, failures = 0, 0
        while True:
            begin = done
            try:
                if job is None or job.error_result:
                    job = start()
                elif done:
                    job = self._again(job)
                with plain_errors(self.where):
                    found = job.result(
                        page_size=page_rows,
                        start_index=done,
                        retry=None,
                        timeout=_QUERY_SECONDS,
                        job_retry=None,
                    )
                    for batch in found.to_arrow_iterable():
                        done += batch.num_rows
                        yield batch
            except TransientError as error:
                failures = 1 if done > begin else failures + 1
                if failures >= self._retries.attempts:
                    raise self._retries.gave_up(self.where, error) from None
                time.sleep(self._retries.wait(failures))
            else:
                return

    def _again(self, job: Any) -> Any:
        """Ask for a query anew: the SDK's object keeps the first page for any index."""
        return asked(
            self.where,
            self._retries,
            lambda: self._client.get_job(
                job.job_id, location=job.location, retry=None, timeout=READ_TIMEOUT
            ),
        )

    def _started(self, sql: str, config: Any) -> Any:
        """Start a query."""
        return asked(
            self.where,
            self._retries,
            lambda: self._client.query(
                sql, config, retry=None, timeout=READ_TIMEOUT, job_retry=None
            ),
        )


def select(what: str, table: Table) -> str:
    """Begin a query of the table as it was at the snapshot; all names are checked."""
    sql = f"SELECT {what} FROM `{table.path}`"  # noqa: S608
    if table.snapshot is None:
        return sql
    return f"{sql} FOR SYSTEM_TIME AS OF TIMESTAMP_MICROS({table.snapshot})"


def _parameter_type(value: Value | None) -> str:
    if isinstance(value, str):
        return "STRING"
    return "INT64" if isinstance(value, int) else "DATE"
