"""Making, sharing and taking over the folder of an arriving data set.

One run fetches, the owner; others on the same machine read what it brings, and one of
them goes on when it ends. All keep the file `users` locked (shared) while they read,
the owner also `owner`; both locks end with the process, however it ends.

A piece counts as there when its checksum is noted, after its bytes were written. The
system may lose one and keep the other when the machine goes down: what was noted
before it came up (`boot`) is checked against the bytes.
"""

import contextlib
import fcntl
import io
import os
import weakref
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from maou.files import atomic_write
from maou.records import arriving
from maou.records.arriving import OBJECT, PIECE, PLACE, Area
from maou.sources.cache import Cache, entry_name, lock_now

_BOOT = Path("/proc/sys/kernel/random/boot_id")


class SharedArea:
    """The arriving data set as a run holds it.

    Attributes:
        area: what all processes see.
        owned: whether this run fetches.
    """

    def __init__(self, cache: Cache, names: list[str], sizes: list[int]) -> None:
        """Make the folder, or join those who use it.

        Args:
            cache: where it lies.
            names: the entries of the data set, in order.
            sizes: their bytes.

        Raises:
            CannotShareError: another machine fetches into it, or the file system lacks
                what is needed.
        """
        self._cache = cache
        identity = (f"{name} {size}" for name, size in zip(names, sizes, strict=True))
        hashed = entry_name("", "arriving", str(PIECE), *identity)
        self.folder = cache.folder / arriving.FOLDER / hashed
        with cache.lock("cache"):
            self.folder.mkdir(exist_ok=True)
            users = (self.folder / "users").open("ab")
            fcntl.flock(users, fcntl.LOCK_SH)
            self._owner = (self.folder / "owner").open("ab")
            entries = list(zip(names, sizes, strict=True))
            self._end = weakref.finalize(
                self, _leave, cache, self.folder, users, self._owner, entries
            )
            if not (self.folder / "boot").exists():
                _make(self.folder, names, sizes)
                _note_boot(self.folder)
            arriving.make_room_for_failure(self.folder)
            arriving.forget(self.folder)  # what this process had there before
            area = arriving.area_of(self.folder / "any")
            assert area is not None
            self.area = area
            self.owned = False
            if not self.own() and _boot_of(self.folder) != _boot():
                self.close()
                raise CannotShareError

    def own(self) -> bool:
        """Become the owner if there is none; tell whether this run is it.

        Raises:
            CannotShareError: the file system has no hard links.
        """
        if not self.owned and lock_now(self._owner):
            self.owned = True
            self._take_over()
        return self.owned

    def _take_over(self) -> None:
        """Have a file of every name, and forget pieces that are not in them."""
        area = self.area
        doubted = _boot_of(self.folder) != _boot()
        for number, name in enumerate(area.names):
            path, entry = self.folder / name, self._cache.path(name)
            size, pieces = int(area.sizes[number]), area.pieces_of(number)
            if self._cache.has(name, size):
                if not (path.exists() and path.samefile(entry)):
                    path.unlink(missing_ok=True)
                    self._link(path, entry)
                there = area.sums[pieces]
                there[there == 0] = 1
                continue
            if not path.exists() or path.stat().st_size != size:
                area.sums[pieces] = area.used[pieces] = 0
                with path.open("ab") as stream:
                    stream.truncate(size)
            elif doubted:
                _drop_wrong(area, number)
            if area.sums[pieces].all():
                # With a piece comes the checksum of the whole: so fetch one.
                area.sums[pieces.stop - 1] = 0
        area.state[PLACE] = 0
        _note_boot(self.folder)
        (self.folder / "link").unlink(missing_ok=True)
        self._link(self.folder / "link", self.folder / "boot")
        (self.folder / "link").unlink()

    def _link(self, path: Path, target: Path) -> None:
        try:
            path.hardlink_to(target)
        except OSError as error:
            self.close()
            raise CannotShareError from error

    def close(self) -> None:
        """Let go; removes the folder if nobody uses it and every file is an entry."""
        self._end()


class CannotShareError(Exception):
    """The data set cannot arrive here while it is read: fetch it first."""


def checksum_of(data: bytes | memoryview) -> int:
    """Give the number that says that a piece is there; never 0."""
    return zlib.crc32(data) or 1


def _leave(
    cache: Cache,
    folder: Path,
    users: BinaryIO,
    owner: BinaryIO,
    entries: list[tuple[str, int]],
) -> None:
    """Unlock; the last one out removes what is not needed any more.

    It never waits: this may be called in the middle of anything, when memory is freed.
    Nor does it read an array: Python cannot parse its header while it parses another.
    """
    arriving.forget(folder)
    with contextlib.suppress(OSError):
        arriving.failure_path(folder).unlink()
    owner.close()
    users.close()
    with contextlib.suppress(OSError), cache.try_lock("cache") as free:
        if not free:
            return
        if all(cache.has(name, size) for name, size in entries):
            cache.clear(folder)


def _make(folder: Path, names: list[str], sizes: list[int]) -> None:
    objects = np.zeros(len(names), dtype=OBJECT)
    objects["name"], objects["size"] = [name.encode() for name in names], sizes
    pieces = -(-objects["size"] // PIECE)
    objects["first"] = np.cumsum(pieces) - pieces
    count = int(pieces.sum())
    for name, array in (
        (arriving.OBJECTS, objects),
        (arriving.SUMS, np.zeros(count, np.uint32)),
        (arriving.USED, np.zeros(count, np.uint8)),
        (arriving.WANTED, np.zeros(count, np.uint8)),
        (arriving.STATE, np.zeros(3, np.int64)),
    ):
        # Every byte is written: of a file with holes, on a full disk, a store to the
        # mapping would end the process (SIGBUS). And not by NumPy, which may lose the
        # error when a file that it wrote is closed.
        content = io.BytesIO()
        np.save(content, array)
        with atomic_write(folder / name) as stream:
            stream.write(content.getbuffer())


def _drop_wrong(area: Area, number: int) -> None:
    """Forget the pieces of a file whose bytes are not what was noted."""
    pieces = area.pieces_of(number)
    with (area.folder / area.names[number]).open("rb") as stream:
        for piece in range(pieces.start, pieces.stop):
            data = stream.read(PIECE)
            if area.sums[piece] and area.sums[piece] != checksum_of(data):
                area.sums[piece] = 0


def _boot() -> str:
    """Identify the time since the machine came up."""
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return f"none, {os.uname().nodename}"


def _boot_of(folder: Path) -> str:
    return (folder / "boot").read_text()


def _note_boot(folder: Path) -> None:
    with atomic_write(folder / "boot") as stream:
        stream.write(_boot().encode())
