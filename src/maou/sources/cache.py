"""The local cache of fetched objects: a folder that runs share, also at the same time.

An entry is named by a hash of what it holds (provider, bucket, key and version, or for
a bundle its parts), never by a path made of an object's name:

    objects/<2 digits>/<hash><suffix>   complete entries; beside each, what it is, .json
    partial/<hash><suffix>              what is being fetched
    arriving/<hash>/                    data sets that are read while they are fetched
    leases/<random>                     the entries that a running run needs
    private/<random>/                   caches of runs with --no-input-local-cache
    locks/                              empty files to lock

An entry appears by a rename, when it has been verified and flushed to disk, so whatever
has its final name is whole. A run holds a lock on its lease for as long as it lives,
however it ends: what a live lease names is never removed.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import uuid
import weakref
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from maou.errors import ConfigError, RemoteError
from maou.files import atomic_write, sync_folder
from maou.records.arriving import FOLDER, cache_removed

_FOLDERS = ("objects", "partial", FOLDER, "leases", "private", "locks")


def entry_name(suffix: str, *identity: str) -> str:
    """Name an entry by what it holds: 64 hex digits and the suffix."""
    text = "\0".join(identity).encode("utf-8", "surrogateescape")
    return hashlib.sha256(text).hexdigest() + suffix.lower()


class Lease:
    """What a run needs of a cache, for as long as this object lives."""

    def __init__(self, path: Path, names: Iterable[str]) -> None:
        """Write and lock the lease; the caller holds the cache's lock."""
        self.path = path
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.write(descriptor, "\n".join(names).encode())
        self._end = weakref.finalize(self, _end_lease, descriptor, path)

    def release(self) -> None:
        """Let others remove the entries; also done when the object goes away."""
        self._end()


def _end_lease(descriptor: int, path: Path) -> None:
    path.unlink(missing_ok=True)
    os.close(descriptor)


class Cache:
    """A cache folder.

    Attributes:
        folder: the folder.
        limit: bytes that the entries may have together; None for no limit.
    """

    def __init__(self, folder: Path, limit: int | None = None) -> None:
        """Make the folder.

        Raises:
            ConfigError: it cannot be made.
        """
        self.folder, self.limit = folder, limit
        try:
            for name in _FOLDERS:
                (folder / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"--input-local-cache-dir {folder}: {error.strerror}; name a folder "
                "that can be written"
            ) from error

    def path(self, name: str) -> Path:
        """Say where an entry is, or will be."""
        return self.folder / "objects" / name[:2] / name

    def has(self, name: str, size: int | None = None) -> bool:
        """Tell whether an entry is there, of the right size if that is known."""
        try:
            found = self.path(name).stat().st_size
        except FileNotFoundError:
            return False
        return size is None or found == size

    def reserve(self, sizes: Mapping[str, int], room: int = 0) -> Lease:
        """Protect entries from removal, and make room for those that are missing.

        Args:
            sizes: the entries that the run needs, with their sizes.
            room: bytes that are needed beside them for a time.

        Raises:
            ConfigError: they cannot fit into the limit.
        """
        needed = sum(sizes.values()) + room
        if self.limit is not None and needed > self.limit:
            raise ConfigError(
                f"--input-max-cached-bytes {self.limit}: the shards of this run need "
                f"{needed} bytes; allow at least that, or choose a smaller data set"
            )
        with self.lock("cache"):
            lease = self._lease(sizes)
            for name in sizes:
                with contextlib.suppress(FileNotFoundError):
                    os.utime(self.path(name))  # the time of its last use
            protected = self._leased()
            self._sweep(protected)
            missing = sum(size for name, size in sizes.items() if not self.has(name))
            self._evict(missing + room, protected)
        return lease

    def protect(self, names: Iterable[str]) -> Lease:
        """Protect entries for which there is room."""
        with self.lock("cache"):
            return self._lease(names)

    def _lease(self, names: Iterable[str]) -> Lease:
        return Lease(self.folder / "leases" / uuid.uuid4().hex, names)

    def _evict(self, wanted: int, protected: set[str]) -> None:
        """Remove what was used longest ago until `wanted` more bytes fit.

        What other live runs need stays even if the limit is then passed for a time.
        """
        if self.limit is None:
            return
        entries = []
        for path in (self.folder / "objects").glob("*/*"):
            if path.suffix != ".json":
                found = path.stat()
                entries.append((found.st_mtime_ns, found.st_size, path))
        total = sum(size for _, size, _ in entries) + wanted
        for _, size, path in sorted(entries):
            if total <= self.limit:
                return
            if path.name not in protected:
                self._remove(path.name)
                total -= size

    def _sweep(self, protected: set[str]) -> None:
        """Remove what killed runs left half done."""
        for path in (self.folder / "partial").iterdir():
            if path.name not in protected:
                with self.try_lock(path.name[:3]) as free:
                    if free:
                        path.unlink(missing_ok=True)
        for folder in (self.folder / FOLDER).iterdir():
            names = {path.name for path in folder.iterdir()}
            if not names & protected:
                self.clear(folder)

    def clear(self, folder: Path) -> None:
        """Remove an arriving data set that nobody reads; within the cache's lock."""
        with (folder / "users").open("wb") as stream:
            if lock_now(stream):
                shutil.rmtree(folder, ignore_errors=True)

    def drop(self, names: Iterable[str], lease: Lease) -> None:
        """Remove entries of a lease that the run no longer needs, unless others do."""
        with self.lock("cache"):
            needed = self._leased(but=lease)
            for name in names:
                if name not in needed:
                    self._remove(name)

    def _remove(self, name: str) -> None:
        self.path(name).unlink(missing_ok=True)
        self._note(name).unlink(missing_ok=True)

    def _note(self, name: str) -> Path:
        return self.path(name).with_suffix(".json")

    def _leased(self, but: Lease | None = None) -> set[str]:
        """Collect what live leases name; remove the leases of runs that have ended."""
        names: set[str] = set()
        for path in (self.folder / "leases").iterdir():
            if but is not None and path == but.path:
                continue
            with contextlib.suppress(FileNotFoundError), path.open("rb") as stream:
                if lock_now(stream):
                    path.unlink(missing_ok=True)
                else:
                    names.update(stream.read().decode().split("\n"))
        return names

    def adding(self, name: str) -> contextlib.AbstractContextManager[None]:
        """Keep other threads and runs from adding the same entry meanwhile."""
        return self.lock(name[:3])

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[BinaryIO]:
        """Open the unfinished entry for adding bytes; within `adding`.

        It begins with what an earlier, interrupted run left of the same object.
        """
        with self.part_path(name).open("ab") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())

    def part_path(self, name: str) -> Path:
        """Say where the unfinished entry is."""
        return self.folder / "partial" / name

    def commit(self, name: str, about: Mapping[str, object]) -> None:
        """Give the finished part its final name, and note what it is.

        Args:
            name: the entry.
            about: what it holds, for people.
        """
        path = self._noted(name, about)
        self.part_path(name).replace(path)
        sync_folder(path.parent)

    def link(self, name: str, file: Path, about: Mapping[str, object]) -> None:
        """Make a whole file an entry; it also keeps the name under which it is read."""
        path = self._noted(name, about)
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
        path.unlink(missing_ok=True)  # of another size
        path.hardlink_to(file)
        sync_folder(path.parent)

    def _noted(self, name: str, about: Mapping[str, object]) -> Path:
        with atomic_write(self._note(name)) as stream:
            stream.write(json.dumps(about, indent=2, ensure_ascii=False).encode())
        return self.path(name)

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Keep everybody else from what is done under a name."""
        with (self.folder / "locks" / name).open("wb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    @contextlib.contextmanager
    def try_lock(self, name: str) -> Iterator[bool]:
        """Do that too, unless somebody has it; tell whether nobody had."""
        with (self.folder / "locks" / name).open("wb") as stream:
            yield lock_now(stream)


def lock_now(stream: BinaryIO) -> bool:
    """Lock an open file if nobody else has; tell whether that worked."""
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def private_cache(folder: Path) -> tuple[Cache, object]:
    """Make a cache of one run, below a shared one's folder.

    What runs that were killed left there is removed first.

    Returns:
        The cache, and what must live as long as it is needed.

    Raises:
        ConfigError: it cannot be made.
    """
    shared = Cache(folder)
    place = folder / "private"
    with shared.lock("private"):
        for left in place.iterdir():
            with contextlib.suppress(OSError), (left / "lease").open("rb") as stream:
                if lock_now(stream):
                    shutil.rmtree(left, ignore_errors=True)
        own = place / uuid.uuid4().hex
        cache = Cache(own)
        keep = Lease(own / "lease", ())
    weakref.finalize(keep, shutil.rmtree, own, ignore_errors=True)
    return cache, keep


@contextlib.contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn what the system says against writing into one message.

    Raises:
        RemoteError: the disk is full, or the folder cannot be written to, or is gone.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise cache_removed(folder) from error
    except OSError as error:
        raise RemoteError(
            f"--input-local-cache-dir {folder}: {error.strerror or error}; make room "
            "(--input-max-cached-bytes limits the cache) and start again"
        ) from error
