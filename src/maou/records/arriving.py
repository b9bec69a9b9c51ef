"""Files of which some bytes are still on their way from a store.

They lie in a folder `arriving/<name>/` of a cache, and beside them what has come:

    objects.npy   name, size and first piece of each file
    sums.npy      CRC-32 of each piece that is there, 0 for the others, uint32 [pieces]
    used.npy      1 for each piece that somebody has read, uint8 [pieces]
    wanted.npy    1 for each piece that somebody waits for, uint8 [pieces]
    state.npy     `WANTED_AT`, `PLACE`, `ARRIVED`, int64 [3]
    failed-<pid>  room to say why nothing more comes for the run of that process

Whoever reads maps these, in whatever process, and waits for the pieces that it needs.
Every element is written by one side only, in one store, after what it stands for. All
other files cost a look at their path.

The room for the reason is there from the beginning, because a full disk is one of them:
the first byte is 0 as long as there is none, then the number of its kind in `_KINDS`.
"""

import contextlib
import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from maou.errors import RemoteError, WrongBytesError

FOLDER = "arriving"
PIECE = 1 << 14
"""Bytes that arrive, and are waited for, together. Less than a block of raw records
(38,912): of a shuffled order few bytes come that are not needed yet."""

OBJECTS, SUMS, USED, WANTED, STATE = (
    f"{name}.npy" for name in ("objects", "sums", "used", "wanted", "state")
)
OBJECT = np.dtype([("name", "S96"), ("size", "<i8"), ("first", "<i8")])
WANTED_AT, PLACE, ARRIVED = range(3)

_ROOM = 1 << 12
_KINDS = (None, RemoteError, WrongBytesError)

_LOOK = 0.002
"""Seconds between two looks for a piece; a request takes ten times as long."""

_LOOK_FOR_FAILURE = 0.1


def _tell_nobody(waits: bool) -> None:
    pass


_tell_waits: list[Callable[[bool], None]] = [_tell_nobody]
_areas: dict[str, "Area | None"] = {}


def tell_waits(tell: Callable[[bool], None]) -> None:
    """Have a function called when this process begins and ends to wait for a store."""
    _tell_waits[0] = tell


class Area:
    """A folder of arriving files, as every process sees it.

    Attributes:
        folder: the folder.
        sizes, firsts: bytes and first piece of each file, int64 [files].
        sums, used, wanted, state: see above.
        failure: why nothing more comes, where this process was the first to know.
    """

    def __init__(self, folder: Path) -> None:
        """Map what tells how far the files are."""
        self.folder = folder
        self.failure: RemoteError | None = None
        objects = np.load(folder / OBJECTS, allow_pickle=False)
        names = [name.decode() for name in objects["name"].tolist()]
        self.numbers = {name: number for number, name in enumerate(names)}
        self.names = names
        self.sizes: npt.NDArray[np.int64] = objects["size"].copy()
        self.firsts: npt.NDArray[np.int64] = objects["first"].copy()
        self.sums = _shared(folder / SUMS)
        self.used = _shared(folder / USED)
        self.wanted = _shared(folder / WANTED)
        self.state = _shared(folder / STATE)

    def span(self, number: int, offset: int, count: int) -> tuple[int, int]:
        """Give the pieces [first, last) that hold some bytes of a file."""
        first = int(self.firsts[number])
        return first + offset // PIECE, first + -(-(offset + count) // PIECE)

    def pieces_of(self, number: int) -> slice:
        """Give all pieces of a file."""
        return slice(*self.span(number, 0, int(self.sizes[number])))

    def missing_bytes(self) -> int:
        """Count the bytes that are not there."""
        missing = self.sums == 0
        last = self.firsts - (self.sizes // -PIECE) - 1  # may be shorter than others
        short = missing[last] * (self.sizes % -PIECE)
        return int(missing.sum()) * PIECE + int(short.sum())

    def want(self, first: int, last: int) -> None:
        """Ask for the pieces [first, last) before all others."""
        self.wanted[first:last] = 1
        self.state[WANTED_AT] = time.monotonic_ns()

    def wait(self, number: int, offset: int, count: int) -> None:
        """Return when some bytes of a file are there.

        Raises:
            RemoteError: they will not come.
        """
        end = min(offset + count, int(self.sizes[number]))
        first, last = self.span(number, offset, max(0, end - offset))
        self.used[first:last] = 1  # before the look: see `Arrivals` on wrong bytes
        if not self.sums[first:last].all():
            _tell_waits[0](True)
            self.want(first, last)
            look = 0.0
            while not self.sums[first:last].all():
                if time.monotonic() > look:
                    self.refuse_if_hopeless()
                    look = time.monotonic() + _LOOK_FOR_FAILURE
                time.sleep(_LOOK)
            _tell_waits[0](False)

    def note_failure(self, error: RemoteError) -> None:
        """Tell all processes of this run, this one first, that nothing more comes."""
        self.failure = error
        with contextlib.suppress(OSError):  # then this process alone knows it
            place = os.open(failure_path(self.folder), os.O_WRONLY | os.O_CREAT)
            with os.fdopen(place, "wb", buffering=0) as stream:
                stream.seek(1)
                stream.write(str(error).encode(errors="replace")[: _ROOM - 1])
                stream.seek(0)
                stream.write(bytes([_KINDS.index(type(error))]))

    def _noted_failure(self) -> RemoteError | None:
        try:
            noted = failure_path(self.folder).read_bytes()
        except FileNotFoundError:
            gone = not (self.folder / OBJECTS).exists()
            return cache_removed(self.folder.parent.parent) if gone else None
        kind = _KINDS[noted[0]] if noted else None
        if kind is None:
            return None
        return kind(noted[1:].rstrip(b"\0").decode(errors="ignore"))

    def refuse_if_hopeless(self) -> None:
        """Say why nothing more comes, if that is so.

        Raises:
            RemoteError: it is.
        """
        parent = multiprocessing.parent_process()
        if parent is not None and not parent.is_alive():
            raise RemoteError("the run that fetched the shards is gone")
        failure = self.failure or self._noted_failure()
        if failure is not None:
            raise type(failure)(str(failure))  # it may be raised more than once


def failure_path(folder: Path) -> Path:
    """Say where the run of this process (or of its parent) notes its failure."""
    parent = multiprocessing.parent_process()
    return folder / f"failed-{os.getpid() if parent is None else parent.pid}"


def make_room_for_failure(folder: Path) -> None:
    """Take the disk space that noting a failure of this run will need."""
    with failure_path(folder).open("wb") as stream:
        stream.write(bytes(_ROOM))
        stream.flush()
        os.fsync(stream.fileno())


def cache_removed(folder: Path) -> RemoteError:
    """Make the error about a cache that somebody removed while a run read it."""
    return RemoteError(
        f"--input-local-cache-dir {folder}: files that this run needs were removed "
        "from it; leave it alone while a run uses it"
    )


def _shared(path: Path) -> npt.NDArray[Any]:
    found: npt.NDArray[Any] = np.load(path, mmap_mode="r+", allow_pickle=False)
    return found.view(np.ndarray)


def area_of(path: Path) -> Area | None:
    """Give the folder of arriving files that a file lies in; most lie in none."""
    folder, _ = os.path.split(path)
    if f"{os.sep}{FOLDER}{os.sep}" not in folder:
        return None
    if folder not in _areas:
        there = (Path(folder) / OBJECTS).exists()
        _areas[folder] = Area(Path(folder)) if there else None
    return _areas[folder]


def wait_for(path: Path, offset: int, count: int) -> None:
    """Return when some bytes of a file are there: at once, unless it is arriving.

    Raises:
        RemoteError: they will not come.
    """
    area = area_of(path)
    if area is not None and path.name in area.numbers:
        area.wait(area.numbers[path.name], offset, count)


def is_arriving(path: Path) -> bool:
    """Tell whether some of a file may yet have to come."""
    area = area_of(path)
    return area is not None and path.name in area.numbers


def is_there(path: Path, offset: int, count: int) -> bool:
    """Tell whether some bytes of an arriving file are there."""
    area = area_of(path)
    assert area is not None
    first, last = area.span(area.numbers[path.name], offset, count)
    return bool(area.sums[first:last].all())


def begin(place: int) -> None:
    """Tell what is fetched that reading has come to a place in the order of use."""
    for area in _areas.values():
        if area is not None:
            area.state[PLACE] = place


def arrived() -> int:
    """Count the bytes that have come to this process's arriving files."""
    return sum(int(area.state[ARRIVED]) for area in _areas.values() if area is not None)


def forget(folder: Path) -> None:
    """Let go of a folder that no file of is read any more."""
    _areas.pop(str(folder), None)
