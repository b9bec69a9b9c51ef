"""Opening shards whose rows can be read while they come from a store.

Those are files that say where each row is, and that the split needs little of. Where it
needs every row all are fetched first, and so are files that only make sense whole.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Generic, TypeVar

from maou.errors import DataError
from maou.records.preprocess_shards import PreprocessShard
from maou.records.shards import Shard
from maou.sources.area import CannotShareError
from maou.sources.arrivals import Arrivals, Part
from maou.sources.cache import Cache, Lease, disk_errors
from maou.sources.fetch import Retries, entry_of
from maou.sources.local import Kind
from maou.sources.object_store import ObjectStore, RemoteObject

S = TypeVar("S", Shard, PreprocessShard)

HEADS = {".hcpe": 0, ".psv": 0, ".bin": 1 << 16, ".npy": 1 << 12}
"""Suffixes of files whose rows can be read one by one, and how many bytes at their
beginning opening one looks at."""


@dataclass(frozen=True)
class EarlyShards(Generic[S]):
    """Opened shards, most of which may yet have to come.

    Attributes:
        shards: the shards.
        arrivals: what fetches them.
        lease: protects them in the cache.
        cached: how many objects were there already.
        missing: bytes that were not.
        first: why all of them were fetched first; empty if they were not.
    """

    shards: tuple[S, ...]
    arrivals: Arrivals
    lease: Lease
    cached: int
    missing: int
    first: str


@dataclass(frozen=True)
class Opener:
    """What it takes to open the objects of a bucket early."""

    store: ObjectStore
    cache: Cache
    workers: int
    retries: Retries
    tell: Callable[[str], None]

    def open(
        self, names: Sequence[str], items: Sequence[RemoteObject], kind: Kind[S]
    ) -> EarlyShards[S] | None:
        """Open objects and begin to fetch them; None if they must be fetched first.

        Args:
            names: what the objects are called in messages.
            items: the objects.
            kind: what they hold.

        Raises:
            ConfigError: the cache cannot hold them.
            DataError: one is not what its suffix says.
            RemoteError: what opening looks at cannot be had.
        """
        entries = [entry_of(self.store, item) for item in items]
        sizes = [item.size for item in items]
        there = [
            self.cache.has(entry, size)
            for entry, size in zip(entries, sizes, strict=True)
        ]
        suffixes = [PurePosixPath(item.key).suffix.lower() for item in items]
        readable = all(suffix in HEADS for suffix in suffixes) and all(sizes)
        if all(there) or len(items) == 1 or not readable:
            return None
        with disk_errors(self.cache.folder):
            lease = self.cache.reserve(dict(zip(entries, sizes, strict=True)))
        try:
            arrivals = Arrivals(
                self.store, self.cache, items, self.workers, self.retries
            )
        except CannotShareError:
            return None
        missing = arrivals.missing
        try:
            heads = [
                min(HEADS[s], size) for s, size in zip(suffixes, sizes, strict=True)
            ]
            arrivals.want([Part(i, 0, head) for i, head in enumerate(heads) if head])
            shards = _opened(arrivals, names, kind)
            first = ""
            if any(isinstance(shard, Shard) and shard.has_ids for shard in shards):
                first = "the split looks at every game id"
                arrivals.finish(self.tell)
            else:
                _want_ends(arrivals, shards)
        except BaseException:
            arrivals.close()
            raise
        return EarlyShards(shards, arrivals, lease, sum(there), missing, first)


def _opened(arrivals: Arrivals, names: Sequence[str], kind: Kind[S]) -> tuple[S, ...]:
    shards = []
    for name, file in zip(names, arrivals.files, strict=True):
        try:
            shards.append(kind.open(file))
        except DataError as error:
            raise DataError(str(error).replace(str(file), name)) from error
    return tuple(shards)


def _want_ends(arrivals: Arrivals, shards: Sequence[S]) -> None:
    """Have the first and the last row of each fetched: they identify the data."""
    arrivals.want(
        [
            Part(number, *extent)
            for number, shard in enumerate(shards)
            for row in (0, shard.rows - 1)
            for extent in shard.extents(row, row + 1)
        ]
    )
