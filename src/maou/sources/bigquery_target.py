"""A new table of BigQuery with the rows of shards: all of them, or no table.

Rows go to a staging table first, by load jobs. Loads are free, and each is atomic, so
the number of rows there tells which of them are done: a run that was stopped goes on
with the next. When all rows are there, one copy job, atomic and free too, makes the
table, and the staging table goes. It goes by itself after a week if nobody comes back.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from maou.errors import ConfigError, RemoteError
from maou.sources.bigquery_jobs import JOB_SECONDS, BigQueryJobs
from maou.sources.bigquery_loading import next_file, schema_of
from maou.sources.bigquery_pages import TableName
from maou.sources.bigquery_schema import Column, in_words
from maou.sources.fetch import DEFAULT_RETRIES, Retries
from maou.sources.object_store import READ_TIMEOUT

_KEPT = timedelta(days=7)


class Layout(NamedTuple):
    """How a table is stored.

    Attributes:
        partition: a column of dates, by whose months it is partitioned; or empty.
        clustering: the columns that it is clustered by.
    """

    partition: str
    clustering: tuple[str, ...]


class BigQueryTarget(BigQueryJobs):
    """A table that is to be made."""

    flags = "--output-dataset-id", "--output-table-name"

    def __init__(
        self,
        name: TableName,
        columns: Sequence[Column],
        layout: Layout,
        folder: Path,
        retries: Retries = DEFAULT_RETRIES,
    ) -> None:
        """Make a client; no request is sent.

        Args:
            name: the table.
            columns: its columns.
            layout: how BigQuery is to store it.
            folder: where files are written before they are loaded.
            retries: what to do when a request fails.

        Raises:
            ConfigError: google-cloud-bigquery is not installed.
            RemoteError: there are no credentials, or no project.
        """
        super().__init__(name, 1, retries)
        self._columns, self._layout = columns, layout
        self._folder = folder

    def rows(self, path: str = "") -> int | None:
        """Count the rows of the table, or of another; None if there is none.

        Raises:
            RemoteError: BigQuery does not say.
        """
        table = self._table(path or self.path)
        return None if table is None else int(table.num_rows or 0)

    def require_room(self) -> None:
        """Check that the data set is there, and that the table has no rows.

        Raises:
            ConfigError: it has, or it is no table.
            RemoteError: there is no such data set, or it cannot be asked.
        """
        dataset = self.path.rsplit(".", 1)[0]
        found: Any = self._if_there(
            lambda: self._client.get_dataset(dataset, retry=None, timeout=READ_TIMEOUT)
        )
        if found is None:
            raise RemoteError(
                f"BigQuery {dataset}: there is no such data set; make it (bq mk "
                f"--dataset) or check {self.flags[0]}"
            )
        table = self._table(self.path)
        kind = (table and table.table_type) or "TABLE"
        if kind != "TABLE":
            raise ConfigError(
                f"{self.where}: is {in_words(kind)}, and rows go into a table of their "
                f"own; give another {self.flags[1]}, or drop it"
            )
        if table is not None and table.num_rows:
            raise ConfigError(
                f"{self.where}: has rows already, and a table holds the records of one "
                f"output folder; give another {self.flags[1]}, or drop the table"
            )

    def fill(
        self,
        digest: str,
        batches: Iterator[Any],
        rows: int,
        file_rows: int,
        tell: Callable[[float], None],
    ) -> None:
        """Make the table of record batches, going on where an earlier run stopped.

        Args:
            digest: identifies the rows and their order, for the staging table.
            batches: the rows, always cut in the same way.
            rows: how many there are.
            file_rows: about how many to load at a time.
            tell: called with the share that is loaded.

        Raises:
            ConfigError: the table has rows.
            RemoteError: BigQuery cannot be reached, or refuses.
        """
        self.require_room()
        staging = f"{self.path}_maou_{digest}"
        done, made = self._begin(staging)
        schema = schema_of(self._columns)
        at = 0
        while at < rows:
            with tempfile.TemporaryFile(dir=self._folder) as stream:
                is_done = at < done
                count = next_file(
                    batches, schema, file_rows, None if is_done else stream
                )
                assert count, "fewer rows than said"
                if not is_done:
                    self._load(staging, stream, (at, count), f"maou-{digest}-{made}")
            at += count
            tell(at / rows)
        found = self.rows(staging)
        if found != rows:
            self._drop(staging)
            raise RemoteError(
                f"BigQuery {staging}: has {found} rows, not {rows}: something else "
                "wrote there. It was dropped; run again"
            )
        self._copy(staging, f"maou-{digest}-{made}-copy")
        self._drop(staging)

    def _begin(self, staging: str) -> tuple[int, str]:
        """Make the staging table, or find it; give its rows and when it was made."""
        from google.cloud import bigquery

        found = self._table(staging)
        if found is None:
            fields = [
                bigquery.SchemaField.from_api_repr(column.as_field())
                for column in self._columns
            ]
            table = bigquery.Table(staging, schema=fields)
            table.expires = datetime.now(UTC) + _KEPT
            if self._layout.partition:
                # By months: BigQuery has a limit of 4,000 partitions a job, and
                # collections of games go back further than so many days.
                table.time_partitioning = bigquery.TimePartitioning(
                    type_="MONTH", field=self._layout.partition
                )
            table.clustering_fields = list(self._layout.clustering)
            found = self._asked(
                lambda: self._client.create_table(
                    table, exists_ok=True, retry=None, timeout=READ_TIMEOUT
                )
            )
        return int(found.num_rows or 0), f"{found.created:%Y%m%d%H%M%S%f}"

    def _load(
        self, staging: str, stream: Any, part: tuple[int, int], name: str
    ) -> None:
        """Load a file; when it is not known whether it was, the rows tell."""
        from google.cloud import bigquery

        at, count = part
        options = bigquery.ParquetOptions()
        options.enable_list_inference = True
        config = bigquery.LoadJobConfig(
            source_format="PARQUET",
            schema=[
                bigquery.SchemaField.from_api_repr(column.as_field())
                for column in self._columns
            ],
            write_disposition="WRITE_APPEND",
            create_disposition="CREATE_NEVER",
        )
        config.parquet_options = options

        def loaded() -> None:
            if self.rows(staging) == at + count:
                return
            stream.seek(0)
            self._finished(
                lambda identity: self._client.load_table_from_file(
                    stream,
                    staging,
                    num_retries=0,
                    job_id=identity,
                    location=self.location,
                    job_config=config,
                    timeout=JOB_SECONDS,
                ),
                f"{name}-{at}",
            )

        self._asked(loaded)

    def _copy(self, staging: str, name: str) -> None:
        """Make the table of the staging table."""
        from google.cloud import bigquery

        config = bigquery.CopyJobConfig(
            write_disposition="WRITE_EMPTY", create_disposition="CREATE_IF_NEEDED"
        )

        def copied() -> None:
            if self.rows():
                return  # an answer was lost
            self._finished(
                lambda identity: self._client.copy_table(
                    staging,
                    self.path,
                    job_id=identity,
                    location=self.location,
                    job_config=config,
                    retry=None,
                    timeout=READ_TIMEOUT,
                ),
                name,
            )

        self._asked(copied)
