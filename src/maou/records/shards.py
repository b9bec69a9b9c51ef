"""Shards: files of hcpe records, whatever their container.

A shard is opened by looking at its header alone: kind, row count and layout are known,
and anything that is wrong with them has been refused, before a row is read. Rows come
out as raw hcpe bytes, uint8 [n, 38], from every container, so that nothing further on
knows where a row was stored.
"""

import stat
from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
import numpy.typing as npt

from maou.errors import DataError
from maou.reading import open_regular
from maou.records import arriving
from maou.records.hcpe import HCPE_BYTES

Rows = npt.NDArray[np.uint8]
"""Raw hcpe records, uint8 [n, 38]."""

GameKeys = npt.NDArray[np.uint64]
"""One number a row, equal for rows of one game, uint64 [n]."""

Extents = list[tuple[int, int]]
"""Parts of a file, each as its offset and its number of bytes."""


class Shard(ABC):
    """One file of hcpe records.

    Attributes:
        path: the file.
        rows: how many records it holds.
        has_ids: whether its records name their games.
    """

    path: Path
    rows: int
    has_ids: bool

    @abstractmethod
    def __init__(self, path: Path) -> None:
        """Check the header of the file."""

    @abstractmethod
    def read(self, start: int, stop: int) -> Rows:
        """Read records [start, stop) as raw hcpe bytes, uint8 [stop - start, 38].

        Raises:
            DataError: the file ends early or no longer is what its header said.
        """

    @abstractmethod
    def game_keys(self, start: int, stop: int) -> GameKeys:
        """Hash the game ids of records [start, stop); only with `has_ids`."""

    def block_bounds(self, target: int) -> npt.NDArray[np.int64]:
        """Cut the rows into blocks that are cheap to read by themselves.

        Args:
            target: the size of a block where the container leaves a choice.

        Returns:
            Bounds int64 [blocks + 1], from 0 to `rows`.
        """
        return np.append(np.arange(0, self.rows, target, dtype=np.int64), self.rows)

    def extents(self, start: int, stop: int) -> Extents:
        """Say which bytes of the file reading records [start, stop) takes."""
        return [(0, file_size(self.path))]

    def __repr__(self) -> str:
        """Name the shard for messages."""
        return f"{type(self).__name__}({str(self.path)!r}, rows={self.rows})"


def require_rows(path: Path, rows: int) -> None:
    """Refuse a shard without records."""
    if rows == 0:
        raise DataError(f"{path}: holds no records; remove the file or write it again")


def empty_rows(count: int) -> Rows:
    """Allocate room for raw records."""
    return np.zeros((count, HCPE_BYTES), dtype=np.uint8)


def file_size(path: Path) -> int:
    """Return the size of a regular file in bytes.

    Raises:
        DataError: it does not exist, is a folder, or cannot be looked at.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    if stat.S_ISDIR(found.st_mode):
        raise DataError(f"{path}: is a folder, not a shard")
    if not stat.S_ISREG(found.st_mode):
        raise DataError(f"{path}: is not a regular file")
    return found.st_size


def read_bytes(path: Path, offset: int, count: int) -> npt.NDArray[np.uint8]:
    """Read exactly `count` bytes at `offset` without mapping the file.

    Of a file that is still arriving they are waited for.

    Raises:
        DataError: the file cannot be read or ends early.
        RemoteError: it is arriving, and these bytes will not come.
    """
    arriving.wait_for(path, offset, count)
    try:
        with open_regular(path) as stream:
            stream.seek(offset)
            data = np.empty(count, dtype=np.uint8)
            view = data.data
            done = 0
            while done < count:
                got = stream.readinto(view[done:])
                if not got:
                    raise DataError(
                        f"{path}: ends at byte {offset + done}, but its header "
                        f"promised {offset + count}; the file was cut after it was "
                        "opened"
                    )
                done += got
            return data
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
