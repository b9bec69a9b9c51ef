"""Fetching objects into the cache: several at a time, again where a request fails.

A fetch goes on at the byte where the last answer broke off. What is whole is verified
before it becomes an entry; what is wrong is fetched again, and never becomes one.
"""

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, BinaryIO, TypeVar

from maou.errors import RemoteError
from maou.sources.cache import Cache, disk_errors, entry_name
from maou.sources.object_store import (
    Checksum,
    MismatchError,
    ObjectStore,
    RemoteObject,
    TransientError,
    changed,
    iterate,
)

T = TypeVar("T")

PROGRESS = 1 << 20
"""So many new bytes make a request that then failed count as no failure."""


@dataclass(frozen=True)
class Retries:
    """How often to try a request, and how long to wait between (doubling, in seconds).

    With the defaults a store may be away for half a minute.
    """

    attempts: int = 7
    first_wait: float = 0.5
    longest_wait: float = 20.0

    def wait(self, failures: int) -> float:
        """Give the time to wait after so many failures, at random up to a half less."""
        doubled = self.first_wait * 2.0 ** (failures - 1)
        return min(self.longest_wait, doubled) * random.uniform(0.5, 1)

    def gave_up(self, where: str, reason: object) -> RemoteError:
        """Make the error about a request that failed every time."""
        return RemoteError(
            f"{where}: failed {self.attempts} times, the last time with: {reason}. "
            "What was fetched is kept: start again when the store answers"
        )


DEFAULT_RETRIES = Retries()


def list_objects(
    store: ObjectStore, prefix: str, retries: Retries = DEFAULT_RETRIES
) -> Iterator[RemoteObject]:
    """List the objects whose keys begin with a prefix, page by page.

    Raises:
        RemoteError: the store refuses, or does not answer.
    """

    def page(rest: str) -> Any:
        for failures in range(1, retries.attempts + 1):
            try:
                return store.page(prefix, rest)
            except TransientError as error:
                reason = error
                if failures < retries.attempts:
                    threading.Event().wait(retries.wait(failures))
        raise retries.gave_up(store.url(prefix), reason)

    return iterate(page)


def entry_of(store: ObjectStore, item: RemoteObject) -> str:
    """Name the cache's entry of an object."""
    suffix = PurePosixPath(item.key).suffix
    return entry_name(suffix, store.provider, store.bucket, item.key, item.version)


@dataclass
class Fetched:
    """What was fetched, and what was there already."""

    objects: int = 0
    bytes: int = 0
    cached: int = 0


class Fetcher:
    """Brings objects of one store into one cache."""

    def __init__(
        self,
        store: ObjectStore,
        cache: Cache,
        workers: int,
        retries: Retries = DEFAULT_RETRIES,
    ) -> None:
        """Take the store, the cache and the number of threads."""
        self.store, self.cache = store, cache
        self.fetched = Fetched()
        self._workers, self._retries = workers, retries
        self._stop = threading.Event()
        self._failure: BaseException | None = None

    def fetch(self, items: Sequence[RemoteObject], tell: Callable[[str], None]) -> None:
        """Fetch the objects that the cache does not hold.

        Args:
            items: the objects; the caller has reserved them.
            tell: called with a line about the progress, now and then.

        Raises:
            RemoteError: an object cannot be had; what is whole stays in the cache.
        """
        missing = [
            item
            for item in items
            if not self.cache.has(entry_of(self.store, item), item.size)
        ]
        self.fetched.cached += len(items) - len(missing)
        total, done = sum(item.size for item in missing), 0
        told = 0
        with ThreadPoolExecutor(self._workers, "fetch") as pool:
            running = {pool.submit(self._fetch_one, item): item for item in missing}
            try:
                for number, result in enumerate(as_completed(running), 1):
                    result.result()
                    done += running[result].size
                    if number == len(running) or done - told >= total / 10:
                        tell(
                            f"fetched {number}/{len(running)} objects, "
                            f"{done / 1e6:,.1f} of {total / 1e6:,.1f} MB"
                        )
                        told = done
            except BaseException:
                self._stop.set()  # or the pool would wait for all that is waiting
                pool.shutdown(wait=False, cancel_futures=True)
                if self._failure is not None:
                    raise self._failure from None
                raise
        self.fetched.objects += len(missing)
        self.fetched.bytes += total

    def _fetch_one(self, item: RemoteObject) -> None:
        """Fetch one object; the first failure stops all others."""
        if self._stop.is_set():
            return
        try:
            self._bring(item)
        except BaseException as error:
            if not self._stop.is_set():
                self._failure = error
                self._stop.set()
            raise

    def _bring(self, item: RemoteObject) -> None:
        name = entry_of(self.store, item)
        with disk_errors(self.cache.folder), self.cache.adding(name):
            if self.cache.has(name, item.size):
                return  # another run has brought it meanwhile
            with self.cache.part(name) as stream:
                self._download(item, name, stream)
            about = {
                "object": self.store.url(item.key),
                "version": item.version,
                "size": item.size,
            }
            self.cache.commit(name, about)

    def _download(self, item: RemoteObject, name: str, stream: BinaryIO) -> None:
        """Read until the part is whole and right."""
        failures, reason = 0, ""
        checksum = item.checksum
        while True:
            begin = stream.tell()
            if begin > item.size or (begin == item.size and checksum is None):
                begin = 0  # whole, perhaps, but nobody can tell
                stream.truncate(0)
                stream.seek(0)
            try:
                if begin < item.size:
                    told = self.store.read(item, begin, self._writer(stream))
                    checksum = checksum or told
                if self._is_right(item, name, stream, checksum):
                    return
                reason = f"the answer ended at byte {stream.tell()} of {item.size}"
            except MismatchError as error:
                reason = str(error)
                begin = 0
                stream.truncate(0)
                stream.seek(0)
            except TransientError as error:
                reason = str(error)
            failures = 1 if stream.tell() - begin >= PROGRESS else failures + 1
            if failures >= self._retries.attempts:
                raise self._retries.gave_up(self.store.url(item.key), reason)
            if self._stop.wait(self._retries.wait(failures)):
                raise RemoteError("stopped")

    def _writer(self, stream: BinaryIO) -> Callable[[bytes], int]:
        def write(data: bytes) -> int:
            if self._stop.is_set():
                raise RemoteError("stopped")
            return stream.write(data)

        return write

    def _is_right(
        self,
        item: RemoteObject,
        name: str,
        stream: BinaryIO,
        checksum: Checksum | None,
    ) -> bool:
        """Tell whether the part is whole.

        Raises:
            MismatchError: its bytes are wrong.
            RemoteError: there are more than there can be.
        """
        if stream.tell() > item.size:
            raise changed(self.store.url(item.key))
        if stream.tell() < item.size:
            return False
        stream.flush()
        if checksum is not None and not checksum.matches(self.cache.part_path(name)):
            raise MismatchError(f"the {checksum.kind} checksum does not match")
        return True
