"""The shards of a data command as a table of BigQuery.

The command's own record of its work identifies the rows; what is loaded is recorded
beside it, so that the same command run again loads nothing twice.
"""

import gc
import hashlib
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from maou.convert.preprocess_state import save_json
from maou.convert.progress import sole_use
from maou.reading import read_json
from maou.sources.bigquery_pages import table_name
from maou.sources.bigquery_schema import (
    ADDING_UP_COLUMNS,
    DENSE_COLUMNS,
    HCPE_COLUMNS,
    PACKED_COLUMNS,
    Column,
)
from maou.sources.config_table import TableOutputConfig
from maou.sources.fetch import DEFAULT_RETRIES, Retries

RECORD_FILE = "bigquery.json"


class Form(NamedTuple):
    """A kind of record as a table.

    Attributes:
        columns: the table's.
        partition: its column of dates, if it has one.
        clustering: what it is clustered by.
        file_rows: rows loaded at a time, so that a file has a few hundred MB at most.
    """

    columns: tuple[Column, ...]
    partition: str
    clustering: tuple[str, ...]
    file_rows: int


FORMS = {
    "hcpe": Form(
        (*HCPE_COLUMNS, *ADDING_UP_COLUMNS), "partitioningKey", ("id",), 4_000_000
    ),
    "packed": Form(PACKED_COLUMNS, "", ("side",), 4_000_000),
    "dense": Form(DENSE_COLUMNS, "", ("side", "id"), 200_000),
}


class Part(NamedTuple):
    """A shard: its name in the output folder, its rows, and the side of the split."""

    name: str
    rows: int
    side: str


class Loaded(NamedTuple):
    """What came of it.

    Attributes:
        table: its full name.
        rows: its rows.
        worked: whether an earlier run had not loaded them already.
    """

    table: str
    rows: int
    worked: bool


class TableOutput:
    """The table that an output folder's shards are loaded into."""

    def __init__(
        self,
        config: TableOutputConfig,
        folder: Path,
        kind: str,
        retries: Retries = DEFAULT_RETRIES,
    ) -> None:
        """Check names and credentials; no request is sent.

        Args:
            config: names the table.
            folder: the output folder.
            kind: what the shards are: `hcpe`, `packed` or `dense`.
            retries: what to do when a request fails.

        Raises:
            ConfigError: the extra is not installed, or a name is none.
            RemoteError: there are no credentials, or no project.
        """
        from maou.sources.bigquery_target import BigQueryTarget, Layout

        self._form, self._kind, self._folder = FORMS[kind], kind, folder
        self._target = BigQueryTarget(
            table_name(
                config.output_dataset_id or "", config.output_table_name or "", "output"
            ),
            self._form.columns,
            Layout(self._form.partition, self._form.clustering),
            folder,
            retries,
        )

    def require_room(self) -> None:
        """Check, before the shards are made, that the table can be.

        Raises:
            ConfigError: it has rows of something else.
            RemoteError: there is no such data set, or BigQuery cannot be reached.
        """
        if self._recorded().get("table") != self._target.path:
            self._target.require_room()

    def load(
        self,
        parts: Sequence[Part],
        state_file: str,
        tell: Callable[[float], None] = lambda _: None,
    ) -> Loaded:
        """Load the finished shards.

        Args:
            parts: the shards.
            state_file: what the command recorded its finished work in.
            tell: called with the share that is loaded.

        Raises:
            ConfigError: the table has rows of something else.
            RemoteError: BigQuery cannot be reached, or refuses.
        """
        from maou.sources.bigquery_loading import table_batches

        gc.collect()  # boards of rsshogi may not be freed by threads of the SDK
        form, target = self._form, self._target
        rows = sum(part.rows for part in parts)
        state = (self._folder / state_file).read_bytes()
        digest = hashlib.sha256(state + self._kind.encode()).hexdigest()[:16]
        record = {"table": target.path, "digest": digest, "rows": rows}
        with sole_use(self._folder):
            if self._recorded() == record and target.rows() == rows:
                return Loaded(target.path, rows, worked=False)
            batches = itertools.chain.from_iterable(
                table_batches(
                    self._folder / part.name, self._kind, form.columns, part.side
                )
                for part in parts
            )
            target.fill(digest, batches, rows, form.file_rows, tell)
            save_json(self._folder / RECORD_FILE, record)
        return Loaded(target.path, rows, worked=True)

    def _recorded(self) -> dict[str, Any]:
        try:
            return read_json(self._folder / RECORD_FILE)
        except (OSError, ValueError):
            return {}
