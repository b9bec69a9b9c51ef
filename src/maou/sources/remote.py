"""Shards in a cloud store: listed, fetched into the cache, and then local files.

What comes out is what a local folder with the same files would give: the same names,
order, rows and fingerprint. Nothing further on knows of a store.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

from maou.errors import DataError
from maou.records.preprocess_shards import PreprocessShard
from maou.records.shards import Shard
from maou.sources.bundles import group, join
from maou.sources.cache import Cache, disk_errors, entry_name, private_cache
from maou.sources.config import GB, InputConfig, RecordInputConfig
from maou.sources.early import EarlyShards, Opener
from maou.sources.fetch import (
    DEFAULT_RETRIES,
    Fetcher,
    Retries,
    entry_of,
    list_objects,
)
from maou.sources.local import Kind, ShardSet, choose_names
from maou.sources.object_store import ObjectStore, RemoteObject
from maou.sources.stores import STORES

S = TypeVar("S", Shard, PreprocessShard)

Tell = Callable[[str], None]
"""Takes a line about the progress."""


def open_remote_shards(
    source: RecordInputConfig,
    kind: Kind[S],
    tell: Tell,
    retries: Retries = DEFAULT_RETRIES,
    *,
    early: bool = False,
) -> ShardSet[S]:
    """Fetch the shards of a cloud source that the cache lacks, and open all.

    Args:
        source: names the bucket, the data set and the cache, all of them.
        kind: what the shards are.
        tell: called with lines about the progress.
        retries: what to do when a request fails.
        early: return before all is fetched, where the rows can be read while they come.

    Raises:
        ConfigError: the extra is not installed, or the cache cannot hold the shards.
        RemoteError: the store cannot be reached, refuses, or changes meanwhile.
        DataError: no shards there, or a file is not what its suffix says.
    """

    def choose(found: Found) -> tuple[list[str], list[str]]:
        return choose_names(found.items, found.asked, kind.suffixes, kind.instead)

    wanted = _Wanted(source, choose, retries)
    bundle = None
    if source.input_enable_bundling:
        bundle = source.input_bundle_size_gb * GB
    elif early:
        arriving = _open_early(wanted, kind, tell)
        if arriving is not None:
            return arriving
    files = wanted.fetch(tell, bundle)
    shards = []
    for name, path in files.files:
        try:
            shards.append(kind.open(path))
        except DataError as error:
            text = str(error).replace(str(path), files.where + name)
            raise DataError(text) from error
    return ShardSet(
        shards=tuple(shards),
        root=files.folder,
        ignored=tuple(Path(name) for name in files.ignored),
        names=tuple(name for name, _ in files.files),
        where=files.where,
        origin=files.origin,
        keep=files.keep,
    )


@dataclass(frozen=True)
class Found:
    """What is where an input points to.

    Attributes:
        asked: the URL that was asked for, for messages.
        where: the URL up to the names.
        items: the objects by their names, in any order.
        alone: whether the URL is that of a single object.
    """

    asked: str
    where: str
    items: dict[str, RemoteObject]
    alone: bool


Choose = Callable[[Found], tuple[list[str], list[str]]]
"""Takes what there is; gives the names to fetch, in order, and those left alone."""


@dataclass(frozen=True)
class FetchedFiles:
    """The files of an input, in the cache.

    Attributes:
        where: the place of the names, as a URL.
        files: name and local file of each, in order.
        folder: the cache's folder, which holds the files.
        ignored: names of other objects there.
        origin: what was fetched from where, in words.
        keep: what must live as long as the files are needed.
    """

    where: str
    files: list[tuple[str, Path]]
    folder: Path
    ignored: list[str]
    origin: str
    keep: object


def fetch_files(
    source: InputConfig,
    choose: Choose,
    tell: Tell,
    retries: Retries = DEFAULT_RETRIES,
    bundle: float | None = None,
) -> FetchedFiles:
    """Fetch the files of a cloud source that the cache lacks.

    Args:
        source: names the bucket, the data set and the cache, all of them.
        choose: says which of the objects there are wanted.
        tell: called with lines about the progress.
        retries: what to do when a request fails.
        bundle: bytes of the files that small ones are joined into; None leaves them.

    Raises:
        ConfigError: the extra is not installed, or the cache cannot hold the files.
        RemoteError: the store cannot be reached, refuses, or changes meanwhile.
        DataError: what `choose` raises.
    """
    return _Wanted(source, choose, retries).fetch(tell, bundle)


class _Wanted:
    """What is wanted of an input, and the cache that it comes into."""

    def __init__(self, source: InputConfig, choose: Choose, retries: Retries) -> None:
        """Look what there is."""
        assert source.provider is not None
        assert not source.missing_partners(), "checked before"
        self.workers, self.retries = source.input_max_workers, retries
        make = STORES[source.provider]
        self.store = make(source.input_bucket_name or "", self.workers)
        found = find_objects(self.store, source, retries)
        names, self.ignored = choose(found)
        objects = [found.items[name] for name in names]
        self.listing = Listing(found.where, names, objects)
        self.cache, self.keep = _cache_of(source)

    def fetch(self, tell: Tell, bundle: float | None) -> FetchedFiles:
        """Fetch what the cache lacks."""
        fetcher = Fetcher(self.store, self.cache, self.workers, self.retries)
        local = _Files(self.listing, fetcher, self.cache)
        with disk_errors(self.cache.folder):
            if bundle is None:
                files = local.single(tell)
            else:
                files = local.bundled(bundle, tell)
        return FetchedFiles(
            where=self.listing.where,
            files=files,
            folder=self.cache.folder,
            ignored=self.ignored,
            origin=_describe(self.listing, fetcher, len(files)),
            keep=(self.keep, local.lease),
        )


def _open_early(wanted: _Wanted, kind: Kind[S], tell: Tell) -> ShardSet[S] | None:
    """Open shards before all is fetched; None where that cannot be."""
    listing = wanted.listing
    opener = Opener(wanted.store, wanted.cache, wanted.workers, wanted.retries, tell)
    urls = [listing.where + name for name in listing.names]
    found = opener.open(urls, listing.objects, kind)
    if found is None:
        return None
    return ShardSet(
        shards=found.shards,
        root=wanted.cache.folder,
        ignored=tuple(Path(name) for name in wanted.ignored),
        names=tuple(listing.names),
        where=listing.where,
        origin=_describe_early(listing, found),
        arriving=found.arrivals,
        keep=(wanted.keep, found.lease, found.arrivals),  # the last goes first
    )


@dataclass(frozen=True)
class Listing:
    """The objects of a data set.

    Attributes:
        where: the data set's place, for messages, up to the names.
        names: what is wanted of what is below it, in order.
        objects: the objects of these names.
    """

    where: str
    names: list[str]
    objects: list[RemoteObject]


def find_objects(
    store: ObjectStore, source: InputConfig, retries: Retries = DEFAULT_RETRIES
) -> Found:
    """List the objects below `<prefix>/<data name>/`, or the one of that name.

    Raises:
        RemoteError: the store refuses, or does not answer.
    """
    place = [(source.input_prefix or "").strip("/")]
    place += [(source.input_data_name or "").strip("/")]
    key = "/".join(part for part in place if part)
    folder = f"{key}/"
    found = {
        item.key.removeprefix(folder): item
        for item in list_objects(store, folder, retries)
        if not item.key.endswith("/")
    }
    if found:
        return Found(store.url(key), store.url(folder), found, alone=False)
    folder = key.removesuffix(PurePosixPath(key).name)
    found = {
        item.key.removeprefix(folder): item
        for item in list_objects(store, key, retries)
        if item.key == key
    }
    return Found(store.url(key), store.url(folder), found, alone=True)


def _cache_of(source: InputConfig) -> tuple[Cache, object]:
    """Open the shared cache, or make one for this run."""
    assert source.input_local_cache_dir is not None
    if source.input_local_cache:
        return Cache(source.input_local_cache_dir, source.input_max_cached_bytes), None
    return private_cache(source.input_local_cache_dir)


def _describe(listing: Listing, fetcher: Fetcher, files: int) -> str:
    done, count = fetcher.fetched, len(listing.objects)
    text = (
        f"{listing.where}: {count} object{'s' * (count != 1)}, {done.objects} fetched "
        f"({done.bytes / 1e6:,.1f} MB)"
    )
    if done.objects < count:
        text += ", the others cached"
    return text if files == count else f"{text}; bundled into {files} files"


def _describe_early(listing: Listing, found: EarlyShards[S]) -> str:
    count = len(listing.objects)
    cached = f" ({found.cached} cached)" if found.cached else ""
    text = f"{listing.where}: {count} objects{cached}, {found.missing / 1e6:,.1f} MB "
    if found.first:
        return text + f"fetched first, as {found.first}"
    return text + "arrive in the order of use, while training goes on"


class _Files:
    """Makes the local files of a listing."""

    def __init__(self, listing: Listing, fetcher: Fetcher, cache: Cache) -> None:
        self._listing, self._fetcher, self._cache = listing, fetcher, cache
        self._entries = [entry_of(fetcher.store, item) for item in listing.objects]
        self._sizes = [item.size for item in listing.objects]
        self.lease: object = None

    def single(self, tell: Tell) -> list[tuple[str, Path]]:
        """Give each object as a file of its own, with its name."""
        sizes = zip(self._entries, self._sizes, strict=True)
        self.lease = self._cache.reserve(dict(sizes))
        self._fetcher.fetch(self._listing.objects, tell)
        files = [self._cache.path(entry) for entry in self._entries]
        return list(zip(self._listing.names, files, strict=True))

    def bundled(self, target: float, tell: Tell) -> list[tuple[str, Path]]:
        """Join small ones; a bundle has the name of its first shard."""
        groups = group(self._listing.names, self._sizes, target)
        names = [self._bundle_name(members) for members in groups]
        needed = {
            name: sum(self._sizes[i] for i in members)
            for name, members in zip(names, groups, strict=True)
        }
        missing = [
            (name, members)
            for name, members in zip(names, groups, strict=True)
            if len(members) > 1 and not self._cache.has(name)
        ]
        room = max((needed[name] for name, _ in missing), default=0)
        lease = self._cache.reserve(needed, room)
        parts = [self._entries[i] for _, members in missing for i in members]
        held = self._cache.protect(parts)
        alone = [self._listing.objects[m[0]] for m in groups if len(m) == 1]
        self._fetcher.fetch(alone, tell)
        for name, members in missing:
            self._fetcher.fetch([self._listing.objects[i] for i in members], tell)
            self._bundle(name, members)
            self._cache.drop((self._entries[i] for i in members), held)
        held.release()
        self.lease = lease
        tell(f"bundled {len(self._sizes)} objects into {len(groups)} files")
        files = [self._cache.path(name) for name in names]
        return [
            (self._listing.names[members[0]], file)
            for members, file in zip(groups, files, strict=True)
        ]

    def _bundle_name(self, members: range) -> str:
        entries = [self._entries[i] for i in members]
        if len(entries) == 1:
            return entries[0]
        return entry_name(PurePosixPath(entries[0]).suffix, "bundle", *entries)

    def _bundle(self, name: str, members: range) -> None:
        where = self._listing.where
        parts = [
            (where + self._listing.names[i], self._cache.path(self._entries[i]))
            for i in members
        ]
        with self._cache.adding(name):
            if self._cache.has(name):
                return  # another run has made it meanwhile
            with self._cache.part(name) as stream:
                stream.truncate(0)
                stream.seek(0)
                join(parts, stream)
            self._cache.commit(name, {"bundle": [part for part, _ in parts]})
