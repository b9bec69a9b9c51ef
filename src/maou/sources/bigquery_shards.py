"""A table of BigQuery as local shards: what is asked for, and whether it fits.

Its rows are fetched once, ordered, and kept (see `bigquery_fetch`); what comes out are
the shards that a local folder would have.
"""

import shutil
import tempfile
import weakref
from pathlib import Path
from typing import TypeVar

from maou.errors import ConfigError, DataError
from maou.records.preprocess_shards import PreprocessShard
from maou.records.shards import Shard
from maou.sources.bigquery import BigQueryDataSource, Table
from maou.sources.bigquery_fetch import TableFetch
from maou.sources.bigquery_pages import check_column, table_name
from maou.sources.bigquery_rows import FORMS, RowForm
from maou.sources.bigquery_schema import SIDE, differences, in_words
from maou.sources.cache import Cache, Lease, disk_errors, private_cache
from maou.sources.config import RecordInputConfig
from maou.sources.fetch import DEFAULT_RETRIES, Retries
from maou.sources.local import Kind, ShardSet
from maou.sources.remote import Tell

S = TypeVar("S", Shard, PreprocessShard)

_PAGED_BY = ("STRING", "INT64", "DATE")


def open_bigquery_shards(
    config: RecordInputConfig,
    kind: Kind[S],
    tell: Tell,
    retries: Retries = DEFAULT_RETRIES,
) -> ShardSet[S]:
    """Fetch the rows of a table that the cache lacks, and open its shards.

    Args:
        config: names the table, and the cache.
        kind: what the rows are.
        tell: called with lines about the progress.
        retries: what to do when a request fails.

    Raises:
        ConfigError: the extra is not installed, a name is none, or the cache cannot
            hold the rows.
        RemoteError: BigQuery cannot be reached, refuses, or the table changes.
        DataError: the table does not have these rows.
    """
    name = table_name(config.input_dataset_id or "", config.input_table_name or "")
    form = FORMS[kind.form]
    source = BigQueryDataSource(name, config.input_max_workers, retries)
    table = source.describe()
    columns = _columns(source, table, form)
    paged_by = _paging_column(table, config)
    cache, keep = _cache_of(config)
    rows = min(config.input_batch_size, form.shard_rows)
    fetch = TableFetch(source, table, form, columns, cache, rows, tell)
    with disk_errors(cache.folder):
        files, lease = fetch.all(paged_by)
    if kind.form == "hcpe" and "id" not in columns:
        tell(f"{source.where}: has no column id, so a game can be on both sides")
    if source.remark:
        tell(f"{source.where}: {source.remark}")
    shards = []
    for file in files:
        try:
            shards.append(kind.open(cache.path(file.entry)))
        except DataError as error:
            raise DataError(f"{source.where}: {file.name}: {error}") from error
    return ShardSet(
        shards=tuple(shards),
        root=cache.folder,
        names=tuple(file.name for file in files),
        where=f"{source.where}: shard ",
        origin=fetch.describe(files),
        keep=(keep, lease),
    )


def _columns(source: BigQueryDataSource, table: Table, form: RowForm) -> dict[str, str]:
    """Give the columns to read, by our names.

    Raises:
        DataError: the table does not have what is needed, or has no rows.
    """
    if table.kind not in {"TABLE", "SNAPSHOT"}:
        raise DataError(
            f"{source.where}: is {in_words(table.kind)}; its rows can be read only "
            "when they are saved as a table"
        )
    if table.needs_filter:
        raise DataError(
            f"{source.where}: requires a filter on its partitions, so it cannot be "
            "read as a whole; allow that: bq update --norequire_partition_filter "
            f"{table.path.replace('.', ':', 1)}"
        )
    differing = differences(form.columns, table.columns)
    if differing:
        raise DataError(
            f"{source.where}: its columns do not fit: {'; '.join(differing)}. Check "
            "--input-format, --input-file-packed and the table"
        )
    if table.is_settled and not table.rows:
        raise DataError(f"{source.where}: has no rows")
    named = {column.name.lower(): column.name for column in table.columns}
    ours = [*form.schema.names, *([SIDE.name] if form.sided else [])]
    return {name: named[name.lower()] for name in ours if name.lower() in named}


def _paging_column(table: Table, config: RecordInputConfig) -> str:
    """Give the column whose values make the pages; empty for one page.

    Raises:
        ConfigError: it would not spare reading all of the table for each page.
    """
    for flag, name, served, how in (
        (
            "--input-partitioning-key-date",
            config.input_partitioning_key_date,
            table.partition,
            ("partitioned", ""),
        ),
        (
            "--input-clustering-key",
            config.input_clustering_key,
            next(iter(table.clustering), ""),
            ("clustered", " first"),
        ),
    ):
        if name is None:
            continue
        check_column(flag, name)
        if name.lower() != served.lower():
            known = {column.name.lower() for column in table.columns}
            missing = "" if name.lower() in known else "has no such column, and "
            done, first = how
            raise ConfigError(
                f"{flag} {name}: {table.path} {missing}is "
                + (
                    f"{done}{first} by {served}, so name that, or "
                    if served
                    else f"not {done}; "
                )
                + "leave the flag out"
            )
        _kind_of(table, flag, name)
        return name
    return ""


def _kind_of(table: Table, flag: str, name: str) -> str:
    kinds = {column.name.lower(): column.sql for column in table.columns}
    kind = kinds.get(name.lower(), "DATE")  # of the hidden column of partitions
    if kind not in (_PAGED_BY if flag == "--input-clustering-key" else ("DATE",)):
        raise ConfigError(
            f"{flag} {name}: is {kind}; it can be {', '.join(_PAGED_BY)}, and of "
            "--input-partitioning-key-date only DATE. Leave the flag out"
        )
    return kind


def _cache_of(config: RecordInputConfig) -> tuple[Cache, object]:
    """Open the shared cache, or make one for this run."""
    folder = config.input_local_cache_dir
    if folder is None:
        folder = Path(tempfile.mkdtemp(prefix="maou-"))
        cache = Cache(folder)
        keep = Lease(folder / "lease", ())
        weakref.finalize(keep, shutil.rmtree, folder, ignore_errors=True)
        return cache, keep
    if config.input_local_cache:
        return Cache(folder, config.input_max_cached_bytes), None
    return private_cache(folder)
