"""Arrow IPC (`.feather`) files, read by rows: several record batches are normal.

A record batch is the least that can be read. Files are read, never mapped: pages of a
mapped file would count as the process's own memory.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from maou.errors import DataError
from maou.records.arrow_layout import require_layout


class ArrowFile:
    """An Arrow IPC file, compressed or not.

    Attributes:
        path: the file.
        starts: first row of each record batch and the number of rows, int64
            [batches + 1]; known after `measure`.
    """

    def __init__(self, path: Path) -> None:
        """Look at the layout.

        Raises:
            DataError: no such file, not Arrow IPC, or a layout that cannot be.
        """
        require_layout(path)
        self.path = path
        self.starts: npt.NDArray[np.int64] = np.zeros(1, dtype=np.int64)

    @property
    def rows(self) -> int:
        """Number of rows, after `measure`."""
        return int(self.starts[-1])

    def measure(self, column: str) -> None:
        """Count the rows of each record batch by reading its smallest column.

        Raises:
            DataError: a record batch cannot be read.
        """
        counts = []
        with self.open([column]) as reader:
            for number in range(reader.num_record_batches):
                try:
                    batch = reader.get_batch(number)
                    batch.validate(full=True)  # as many rows as the column has
                    counts.append(batch.num_rows)
                except (pa.ArrowException, OSError) as error:
                    raise DataError(
                        f"{self.path}: record batch {number} cannot be read: {error}; "
                        "the file is damaged"
                    ) from error
        self.starts = np.array([0, *np.cumsum(counts, dtype=np.int64)], dtype=np.int64)

    @contextlib.contextmanager
    def open(self, columns: list[str] | None = None) -> Iterator[Any]:
        """Open the file for reading some of its columns (all when None).

        Whatever is damaged becomes a DataError, also while the caller looks at the
        schema: names are decoded when they are asked for.
        """
        try:
            with pa.OSFile(str(self.path), "rb") as stream:
                reader = pa.ipc.open_file(stream)
                if columns is not None:
                    fields = [reader.schema.get_field_index(name) for name in columns]
                    options = pa.ipc.IpcReadOptions(included_fields=fields)
                    reader = pa.ipc.open_file(stream, options=options)
                yield reader
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"{self.path}: not a readable feather (Arrow IPC) file: {error}"
            ) from error

    def pieces(self, start: int, stop: int, columns: list[str]) -> list[Any]:
        """Return the record batches' slices that cover rows [start, stop)."""
        first = int(np.searchsorted(self.starts, start, side="right")) - 1
        pieces = []
        with self.open(columns) as reader:
            if reader.num_record_batches != len(self.starts) - 1:
                raise DataError(f"{self.path}: was changed after it was opened")
            for number in range(first, len(self.starts) - 1):
                begin, end = int(self.starts[number]), int(self.starts[number + 1])
                if begin >= stop:
                    break
                low, high = max(start, begin), min(stop, end)
                if low >= high:
                    continue  # an empty record batch
                try:
                    batch = reader.get_batch(number)
                    batch.validate(full=True)  # a damaged offset points anywhere
                except (pa.ArrowException, OSError) as error:
                    raise DataError(
                        f"{self.path}: rows {begin} to {end - 1} (record batch "
                        f"{number}) cannot be read: {error}"
                    ) from error
                if batch.num_rows != end - begin:
                    raise DataError(f"{self.path}: was changed after it was opened")
                pieces.append(batch.slice(low - begin, high - low))
        return pieces

    def block_bounds(self, target: int) -> npt.NDArray[np.int64]:
        """Cut the rows at record batches, joining those smaller than `target`."""
        bounds = [0]
        for end in self.starts[1:-1]:
            if end - bounds[-1] >= target and end < self.rows:
                bounds.append(int(end))
        return np.array([*bounds, self.rows], dtype=np.int64)
