"""The shards of an input, wherever it is: the one place that knows every source."""

from collections.abc import Callable
from typing import TypeVar

from maou.records.preprocess_shards import PreprocessShard
from maou.records.shards import Shard
from maou.sources.choosing import require_choice
from maou.sources.config import BIGQUERY, HCPE_SUFFIXES, RecordInputConfig
from maou.sources.local import Kind, ShardSet, hcpe_kind, open_kind
from maou.sources.remote import open_remote_shards

S = TypeVar("S", Shard, PreprocessShard)


def open_source(
    config: RecordInputConfig,
    kind: Kind[S],
    tell: Callable[[str], None] = lambda _: None,
    *,
    early: bool = False,
) -> ShardSet[S]:
    """Open the shards that an input names, reading headers only.

    Those of a cloud store are fetched first, and are local files from then on.

    Args:
        config: names the source, with all its partner flags.
        kind: what the shards are.
        tell: called with lines about the progress of a fetch.
        early: return before all is fetched, where the rows can be read while they come.

    Raises:
        ConfigError: the input names no source, or lacks what its store needs.
        RemoteError: the store cannot be reached, refuses, or changes meanwhile.
        DataError: nothing there, or a file is not what it should be.
    """
    require_choice(config, f"a file or folder of shards ({HCPE_SUFFIXES})")
    if config.provider == BIGQUERY:
        from maou.sources.bigquery_shards import open_bigquery_shards

        return open_bigquery_shards(config, kind, tell)
    if config.provider is not None:
        return open_remote_shards(config, kind, tell, early=early)
    assert config.input_path is not None, "checked before"
    return open_kind(config.input_path, config.local_flag, kind)


def open_hcpe(
    config: RecordInputConfig, note: Callable[[str], None]
) -> ShardSet[Shard]:
    """Open the hcpe shards that a data command's input names, and tell their origin.

    Args:
        config: names the source.
        note: called with lines about the progress of a fetch, and what came of it.

    Raises:
        ConfigError, RemoteError, DataError: as `open_source` does.
    """
    shards = open_source(config, hcpe_kind(), note)
    if shards.origin:
        note(shards.origin)
    return shards
