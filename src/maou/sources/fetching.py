"""The process that fetches a data set while it is read, in the order of its use.

What has come is read at once; when a file is whole its checksum is verified, and it
becomes an entry of the cache. Where that shows that bytes were wrong, the file is
fetched again; if any that were wrong have been read by then, the run ends.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from maou.errors import MaouError, RemoteError, WrongBytesError
from maou.records.arriving import ARRIVED, PIECE, Area
from maou.sources.area import checksum_of
from maou.sources.cache import Cache, disk_errors
from maou.sources.fetch import Retries
from maou.sources.object_store import (
    Checksum,
    RemoteObject,
    TransientError,
    changed,
)
from maou.sources.schedule import Schedule, Span
from maou.sources.stores import STORES

_LOOK = 0.01
"""Seconds between two looks for work."""


def main() -> None:
    """Fetch what the run that started this process tells through a pipe.

    Why something will not come goes back through another: the disk may be full.

    A signal to the group of processes is the run's affair; when that ends, this does.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    messages = Connection(int(sys.argv[1]), writable=False)
    failures = Connection(int(sys.argv[2]), readable=False)
    setup = messages.recv()
    work = Work(setup, failures.send)
    listen = threading.Thread(target=_listen, args=(work.schedule, messages))
    listen.daemon = True
    listen.start()
    work.run(setup["workers"])
    os._exit(work.failed)  # the other thread still listens


def _listen(schedule: Schedule, messages: Connection) -> None:
    try:
        while (use := messages.recv()) is not None:
            schedule.add(use)
        schedule.end()
        messages.recv()
    except EOFError:
        pass
    os._exit(0)  # the run is gone


class Work:
    """What the threads that fetch share.

    Attributes:
        failed: whether something will not come.
    """

    def __init__(
        self, setup: dict[str, Any], tell: Callable[[RemoteError], None]
    ) -> None:
        """Open what the run has named.

        Args:
            setup: what it is.
            tell: called with the reason if something will not come.
        """
        self._tell = tell
        self._lock, self.stop = threading.Lock(), threading.Event()
        self.failed = False
        self.items: list[RemoteObject] = setup["items"]
        self.area, self._cache = Area(setup["area"]), Cache(setup["cache"])
        self._retries: Retries = setup["retries"]
        self.schedule = Schedule(self.area)
        self._setup = setup
        self._verifying: set[int] = set()
        self._left = 0
        self._checksums: dict[int, Checksum | None] = {}
        self._wrong: dict[int, list[_Version]] = {}

    def run(self, workers: int) -> None:
        """Fetch until all is there, or something will not come."""
        with self._failing():
            make = STORES[self._setup["provider"]]
            self.store = make(self._setup["bucket"], workers)
            names, sizes = self.area.names, self.area.sizes
            for number, name in enumerate(names):
                if self._cache.has(name, int(sizes[number])):
                    self._verifying.add(number)
            self._left = len(names) - len(self._verifying)
            threads = [threading.Thread(target=self._fetch) for _ in range(workers)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except MaouError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 - or readers would wait for ever
            self._fail(RemoteError(f"fetching ended unexpectedly: {error!r}"))

    def _fetch(self) -> None:
        with self._failing():
            while self._left and not self.stop.is_set():
                if os.getppid() != self._setup["run"]:
                    os._exit(0)
                span = self.schedule.take()
                if span is not None:
                    self._bring(span)
                else:
                    self.stop.wait(_LOOK)

    def _fail(self, error: MaouError) -> None:
        """Tell the run; the first reason counts."""
        with self._lock:
            if self.stop.is_set():
                return
            self.failed = True
            self.stop.set()
        wrong_bytes = isinstance(error, WrongBytesError)
        kind = WrongBytesError if wrong_bytes else RemoteError
        self._tell(kind(str(error)))

    def _bring(self, span: Span) -> None:
        """Fetch some pieces, again where a request fails; then see to their file."""
        item, failures, begin = self.items[span.file], 0, span.first
        start = int(self.area.firsts[span.file])
        with disk_errors(self._cache.folder):
            while begin < span.last and not self.stop.is_set():
                sink = _Sink(self, span.file, begin, span.last)
                end = min((span.last - start) * PIECE, item.size)
                try:
                    told = self.store.read(
                        item, (begin - start) * PIECE, sink.write, end
                    )
                    self._checksums[span.file] = item.checksum or told
                    reason = "the answer ended early"
                except TransientError as error:
                    reason = str(error)
                finally:
                    sink.close()
                begin += sink.pieces
                if begin == span.last:
                    break
                failures = 1 if sink.pieces else failures + 1
                if failures >= self._retries.attempts:
                    raise self._retries.gave_up(self.store.url(item.key), reason)
                self.stop.wait(self._retries.wait(failures))
            self.schedule.give_back(span)
            self._verify(span.file)

    def note(self, piece: int, data: bytes) -> None:
        """Note that a piece is in its file."""
        self.area.sums[piece] = checksum_of(data)
        with self._lock:
            self.area.state[ARRIVED] += len(data)

    def _verify(self, number: int) -> None:
        """Make a file an entry if it is whole and right."""
        area, item = self.area, self.items[number]
        pieces = area.pieces_of(number)
        with self._lock:
            if number in self._verifying or not area.sums[pieces].all():
                return
            self._verifying.add(number)
        name, path = area.names[number], area.folder / area.names[number]
        checksum = self._checksums.get(number) or item.checksum
        if checksum is None or checksum.matches(path):
            self._refuse_wrong(number)
            about = {
                "object": self.store.url(item.key),
                "version": item.version,
                "size": item.size,
            }
            with self._cache.adding(name):
                if not self._cache.has(name, item.size):
                    self._cache.link(name, path, about)
            with self._lock:
                self._left -= 1
            return
        versions = self._wrong.setdefault(number, [])
        if len(versions) + 1 >= self._retries.attempts:
            text = f"the {checksum.kind} checksum does not match"
            raise self._retries.gave_up(self.store.url(item.key), text)
        sums = area.sums[pieces].copy()
        area.sums[pieces] = 0  # from here on readers wait
        versions.append((sums, area.used[pieces].copy()))
        with self._lock:
            self._verifying.discard(number)
        self.schedule.give_back(Span(number, pieces.start, pieces.start))

    def _refuse_wrong(self, number: int) -> None:
        """Compare with what was there before, if it was not right.

        Raises:
            WrongBytesError: some that were wrong had been read.
        """
        right = self.area.sums[self.area.pieces_of(number)]
        for sums, used in self._wrong.get(number, ()):
            if ((sums != right) & (used != 0)).any():
                raise WrongBytesError(
                    f"{self.store.url(self.items[number].key)}: bytes that this run "
                    "has read came wrong from the store, as the checksum of the whole "
                    "object shows; they were fetched again. What was trained on them "
                    "is not to be trusted: start a new run"
                )


_Version = tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint8]]
"""The pieces of a file that was wrong, and which of them had been read."""


class _Sink:
    """Takes what a request brings; writes and notes whole pieces.

    Attributes:
        pieces: how many were noted.
    """

    def __init__(self, work: Work, file: int, begin: int, last: int) -> None:
        self._work, self._begin, self._last = work, begin, last
        self._start = int(work.area.firsts[file])
        self._size = int(work.area.sizes[file])
        self._item = work.items[file]
        path: Path = work.area.folder / work.area.names[file]
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        self._held = bytearray()
        self.pieces = 0

    def write(self, data: bytes) -> int:
        """Take some bytes.

        Raises:
            RemoteError: there are more than there can be, or nobody needs them.
        """
        if self._work.stop.is_set():
            raise RemoteError("stopped")
        self._held += data
        while self._begin + self.pieces < self._last:
            piece = self._begin + self.pieces
            offset = (piece - self._start) * PIECE
            count = min(PIECE, self._size - offset)
            if len(self._held) < count:
                return len(data)
            whole = bytes(self._held[:count])
            del self._held[:count]
            _write_at(self._descriptor, whole, offset)
            self._work.note(piece, whole)
            self.pieces += 1
        if self._held:
            raise changed(self._work.store.url(self._item.key))
        return len(data)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def _write_at(descriptor: int, data: bytes, offset: int) -> None:
    """Write all: where the disk is nearly full, one call may write a part of it."""
    rest = memoryview(data)
    while rest:
        count = os.pwrite(descriptor, rest, offset)
        rest, offset = rest[count:], offset + count
