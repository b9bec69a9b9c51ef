"""A data set that is read while it is fetched, as the run sees it.

Fetching is a process's work (`fetching`): threads of this one would stand in the way of
those that train. This side makes the folder, tells the order of use, and notices when
the other ends.
"""

import contextlib
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np

from maou.errors import RemoteError
from maou.records.arriving import PLACE, Area
from maou.sources.area import SharedArea
from maou.sources.cache import Cache, disk_errors
from maou.sources.fetch import Retries, entry_of
from maou.sources.object_store import ObjectStore, RemoteObject
from maou.sources.schedule import Pieces

_MAIN = "from maou.sources.fetching import main; main()"
_LOOK = 0.02
_LOOK_FOR_OWNER = 0.1


class Part(NamedTuple):
    """Bytes [offset, offset + size) of a file."""

    file: int
    offset: int
    size: int


class Use(NamedTuple):
    """What is used together, and how reading calls it when it comes there."""

    place: int
    parts: list[Part]


class Arrivals:
    """The objects of a data set that arrive while they are read.

    Fetching ends when this goes away, or `close` is called.

    Attributes:
        files: where they are read, in the order of the objects.
    """

    def __init__(
        self,
        store: ObjectStore,
        cache: Cache,
        items: Sequence[RemoteObject],
        workers: int,
        retries: Retries,
    ) -> None:
        """Begin: fetch what is wanted, and wait for the order of the rest.

        Raises:
            CannotShareError: they can only be fetched first.
        """
        names = [entry_of(store, item) for item in items]
        with disk_errors(cache.folder):
            shared = SharedArea(cache, names, [item.size for item in items])
        self.files = [shared.folder / name for name in names]
        self._area, self._cache = shared.area, cache
        self._unknown = set(range(len(items)))
        setup = {
            "provider": store.provider,
            "bucket": store.bucket,
            "workers": workers,
            "retries": retries,
            "items": list(items),
            "cache": cache.folder,
            "area": shared.folder,
            "run": os.getpid(),
        }
        self._line = _Line(shared, setup)
        threading.Thread(target=self._line.run, name="arrivals", daemon=True).start()
        self._end = weakref.finalize(self, self._line.close)

    def want(self, parts: Sequence[Part]) -> None:
        """Have some parts of files fetched before all others."""
        for part in parts:
            first, last = self._area.span(*part)
            self._area.wanted[first:last] = 1
        self._area.want(0, 0)

    def follow(self, uses: Iterator[Use]) -> None:
        """Tell the order of use; what it leaves out comes last."""
        self._line.uses = _pieces(self._area, uses)
        self._line.told.set()

    @property
    def missing(self) -> int:
        """Number of bytes that have yet to come."""
        return self._area.missing_bytes()

    def is_complete(self) -> bool:
        """Tell whether every file is whole and verified."""
        if not self._area.sums.all():
            return False
        names, sizes = self._area.names, self._area.sizes
        self._unknown -= {
            i for i in self._unknown if self._cache.has(names[i], sizes[i])
        }
        return not self._unknown

    def finish(self, tell: Callable[[str], None]) -> None:
        """Wait until all is there and verified.

        Args:
            tell: called with a line about the progress, now and then.

        Raises:
            RemoteError: something will not come, or was wrong.
        """
        self._line.told.set()
        total = told = self.missing
        while not self.is_complete():
            self._area.refuse_if_hopeless()
            time.sleep(_LOOK)
            if told - self.missing >= max(1, total / 10):
                told = self.missing
                tell(f"fetched {(total - told) / 1e6:,.1f} of {total / 1e6:,.1f} MB")

    def close(self) -> None:
        """Stop fetching; what has come is kept."""
        self._end()


class _Line:
    """Speaks with the process that fetches; does not know `Arrivals`, so it can go."""

    def __init__(self, shared: SharedArea, setup: dict[str, Any]) -> None:
        self._shared, self._setup = shared, setup
        self._lock, self._closed = threading.Lock(), False
        self._process: subprocess.Popen[bytes] | None = None
        self._messages: Connection | None = None
        self._failures: Connection | None = None
        self.uses: Iterator[Pieces] = iter(())
        self.told = threading.Event()

    def close(self) -> None:
        """End the process: whatever it is at, what is noted as there is there."""
        with self._lock:
            self._closed = True
            self.told.set()
            if self._process is not None:
                self._process.kill()
                self._process.wait()
        self._shared.close()

    def run(self) -> None:
        """Have things fetched in order, or ask the run that does fetch for them."""
        try:
            process = self._begin()
            if process is None:
                return
            listen = threading.Thread(target=self._listen, args=(process,), daemon=True)
            listen.start()
            with contextlib.suppress(BrokenPipeError):  # it has said why, or is dead
                self._send(self._setup)
                self.told.wait()
                for use in self.uses:
                    self._send(use)
                self._send(None)
        except Exception as error:  # noqa: BLE001 - or readers would wait for ever
            reason = f"fetching the shards ended unexpectedly: {error!r}"
            self._fail(RemoteError(reason))

    def _listen(self, process: "subprocess.Popen[bytes]") -> None:
        """Pass on why the process fails, also if it just ends."""
        assert self._failures is not None
        try:
            self._fail(self._failures.recv())
        except (EOFError, OSError):
            if code := process.wait():
                self._fail(
                    RemoteError(
                        f"the process that fetches the shards ended with code {code}; "
                        "if memory ran out, use fewer --input-max-workers"
                    )
                )

    def _begin(self) -> "subprocess.Popen[bytes] | None":
        """Start the process, as soon as no other run fetches; None if closed first.

        Until then, want what is used now and next.
        """
        state, asked = self._shared.area.state, dict[int, int]()
        while True:
            with self._lock:
                if self._closed:
                    return None
                if self._shared.own():
                    self._process, self._messages, self._failures = _start()
                    return self._process
            while self.told.is_set() and len(asked) <= asked.get(state[PLACE], 0) + 1:
                use = next(self.uses, None)
                if use is None:
                    break
                asked[use.place] = len(asked)
                self._shared.area.wanted[use.pieces] = 1
                self._shared.area.want(0, 0)
            time.sleep(_LOOK_FOR_OWNER)

    def _send(self, message: object) -> None:
        assert self._messages is not None
        self._messages.send(message)

    def _fail(self, error: RemoteError) -> None:
        """Note a failure for all readers; the first reason counts."""
        if not self._closed and self._shared.area.failure is None:
            self._shared.area.note_failure(error)


def _pieces(area: Area, uses: Iterator[Use]) -> Iterator[Pieces]:
    """Say which pieces each use takes, in the order of the files."""
    for use in uses:
        spans = [area.span(*part) for part in use.parts]
        numbers = [np.arange(first, last) for first, last in spans]
        if numbers:
            yield Pieces(use.place, np.unique(np.concatenate(numbers)))


def _start() -> "tuple[subprocess.Popen[bytes], Connection, Connection]":
    """Start the process; give what it is told through, and what it tells through."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    there, here = Pipe(duplex=False)
    failures, tell = Pipe(duplex=False)
    with there, tell:
        process = subprocess.Popen(  # noqa: S603 - this very program
            [sys.executable, "-c", _MAIN, str(there.fileno()), str(tell.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            pass_fds=[there.fileno(), tell.fileno()],
        )
    return process, here, failures
