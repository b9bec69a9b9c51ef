"""Counting distinct keys of any number of rows in bounded memory.

Keys are written to files by their first bits, so that equal keys meet in one file,
and each file is counted by itself. Keys are 64-bit hashes: among a hundred million
distinct ones a chance collision is expected in 3 cases of 10,000.
"""

from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

_FILE_KEYS = 1 << 22  # 32 MB of keys sorted at once


class Distinct(NamedTuple):
    """How many keys, how many different ones, and how often the commonest occurs."""

    keys: int
    distinct: int
    most: int


class KeyFiles:
    """Keys, spread over files by their first bits."""

    def __init__(self, folder: Path, name: str, expected: int) -> None:
        """Open the files; `expected` keys decide how many."""
        self._bits = max(0, (max(1, expected) - 1) // _FILE_KEYS).bit_length()
        self._paths = [folder / f"{name}-{i}" for i in range(1 << self._bits)]
        self._streams = [path.open("wb") for path in self._paths]

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the files."""
        for stream in self._streams:
            stream.close()

    def add(self, keys: npt.NDArray[np.uint64]) -> None:
        """Append keys, uint64 [n]."""
        if self._bits == 0:
            self._streams[0].write(keys.tobytes())
            return
        number = keys >> np.uint64(64 - self._bits)
        order = np.argsort(number, kind="stable")
        bounds = np.searchsorted(number[order], np.arange(len(self._paths) + 1))
        ordered = keys[order]
        for i, stream in enumerate(self._streams):
            stream.write(ordered[bounds[i] : bounds[i + 1]].tobytes())

    def count(self) -> Distinct:
        """Count what was added."""
        total = distinct = most = 0
        for path, stream in zip(self._paths, self._streams, strict=True):
            stream.close()
            keys = np.sort(np.fromfile(path, dtype=np.uint64))
            if not len(keys):
                continue
            first = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
            runs = np.diff(np.append(first, len(keys)))
            total += len(keys)
            distinct += len(first)
            most = max(most, int(runs.max()))
        return Distinct(total, distinct, most)
