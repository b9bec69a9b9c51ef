"""The containers of hcpe records, by file suffix."""

from pathlib import Path

from maou.errors import DataError
from maou.records.feather import FeatherShard
from maou.records.hcpe3 import Hcpe3Shard
from maou.records.npy import NpyShard
from maou.records.psv import PsvShard
from maou.records.raw import RawShard
from maou.records.shards import Shard

HCPE_CONTAINERS: dict[str, type[Shard]] = {
    ".hcpe": RawShard,
    ".hcpe3": Hcpe3Shard,
    ".psv": PsvShard,
    ".bin": PsvShard,
    ".npy": NpyShard,
    ".feather": FeatherShard,
}

GAME_SUFFIXES = (".hcpe", ".hcpe3", ".psv")
"""Suffixes that name positions of games and nothing else."""


def open_hcpe_shard(path: Path) -> Shard:
    """Open a shard of hcpe records by its suffix, reading its header only.

    Raises:
        DataError: the suffix names no container, or the file is not what it claims.
    """
    container = HCPE_CONTAINERS.get(path.suffix.lower())
    if container is None:
        raise DataError(
            f"{path}: {path.suffix or 'no suffix'} is not an hcpe container; known are "
            f"{', '.join(HCPE_CONTAINERS)}"
        )
    return container(path)
