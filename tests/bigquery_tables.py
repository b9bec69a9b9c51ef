"""Tables of BigQuery for tests: made of the shipped positions, and opened."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bigquery_server import DATASET
from maou.records.hcpe import HCPE
from maou.records.shards import Shard
from maou.sources.bigquery_shards import open_bigquery_shards
from maou.sources.config import SourceConfig
from maou.sources.fetch import Retries
from maou.sources.local import ShardSet, hcpe_kind

QUICK = Retries(attempts=4, first_wait=0.01)


def hcpe_table(rows: npt.NDArray[np.uint8], first: int = 0, **columns: Any) -> pa.Table:
    """Lay raw hcpe records out as rows of a table: 50 a game, 200 a day.

    Args:
        rows: the records, uint8 [n, 38].
        first: how many come before them.
        columns: values in the place of those.
    """
    raw = rows.view(HCPE).reshape(-1)
    numbers = range(first, first + len(raw))
    days = np.arange(first, first + len(raw)) // 200 + np.datetime64("2025-01-01")
    return pa.table(
        {
            "hcp": pa.array([code.tobytes() for code in raw["hcp"]], pa.binary()),
            "eval": raw["eval"].astype(np.int64),
            "bestMove16": raw["bestMove16"].astype(np.int64),
            "gameResult": raw["gameResult"].astype(np.int64),
            "id": [f"game {i // 50}_{i % 50}" for i in numbers],
            "partitioningKey": days,
            **columns,
        }
    )


def source(table: str, cache: Path | None, **settings: Any) -> SourceConfig:
    """Give the settings that name a table."""
    return SourceConfig(
        input_dataset_id=DATASET,
        input_table_name=table,
        input_local_cache_dir=cache,
        **settings,
    )


def opened(table: str, cache: Path | None, **settings: Any) -> ShardSet[Shard]:
    """Open a table of hcpe rows, with hardly any wait between retries."""
    config = source(table, cache, **settings)
    return open_bigquery_shards(config, hcpe_kind(), lambda _: None, QUICK)


def all_rows(shards: ShardSet[Shard]) -> npt.NDArray[np.uint8]:
    """Read the rows of all shards, in order, uint8 [n, 38]."""
    return np.concatenate([shard.read(0, shard.rows) for shard in shards.shards])
