"""The streaming dataset: a bounded window of rows, shuffled, cut into batches.

Memory is one window (and less than one batch) of rows, raw hcpe 38 bytes each, whatever
the size of the data. Every worker reads every window, which costs little beside
decoding, and decodes only its own batches; so the batches are the same for any worker
count.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from maou.data.batch import PositionBatch
from maou.data.mirroring import choose_mirrored
from maou.data.order import Window, batch_count, mirror_key, order_within, windows
from maou.data.rows import SideRows


@dataclass(frozen=True)
class StreamingRows:
    """Training rows read window by window.

    Attributes:
        side: the rows.
        batch_size: rows of a batch.
        window_rows: rows shuffled together.
        seed: seed of the order.
        mirror_probability: share of the rows to mirror.
    """

    side: SideRows
    batch_size: int
    window_rows: int
    seed: int
    mirror_probability: float = 0.0

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        return batch_count(self.side.count, self.batch_size)

    def batches(
        self, epoch: int, start: int = 0, stride: int = 1
    ) -> Iterator[PositionBatch]:
        """Yield batches `start`, `start + stride`, ... of an epoch.

        Raises:
            DataError: a row is damaged, or a file cannot be read.
        """
        number = start
        begun = _Begun()
        counts = self.side.bounds[:, 3]
        for window in windows(counts, self.window_rows, self.seed, epoch):
            if number * self.batch_size < window.first + window.count:
                number = yield from self._of_window(
                    window, epoch, begun, number, stride
                )

    def _of_window(
        self, window: Window, epoch: int, begun: "_Begun", number: int, stride: int
    ) -> Generator[PositionBatch, None, int]:
        """Yield the batches that end in a window; return the next batch's number."""
        loaded = _Loaded(self.side, window)
        order = order_within(window, self.seed, epoch)
        key = mirror_key(self.seed, epoch)
        after = window.first + window.count
        while (first := number * self.batch_size) < after:
            end = min(first + self.batch_size, self.side.count)
            part = order[max(first - window.first, 0) : end - window.first]
            if end > after:
                begun.hold(loaded, part)
                break
            mirrored_B = choose_mirrored(
                first, end - first, key, self.mirror_probability
            )
            yield begun.complete(loaded, part, mirrored_B)
            number += stride
        return number


class _Loaded:
    """The raw rows of a window, and where each came from."""

    def __init__(self, side: SideRows, window: Window) -> None:
        self.side = side
        self._blocks = window.blocks
        counts = side.bounds[window.blocks, 3]
        self._starts = np.cumsum(counts) - counts
        self.rows = side.read_all(window.blocks)

    def origins(self, part: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return block number and place in the block of each row, int64 [n, 2]."""
        at = np.searchsorted(self._starts, part, side="right") - 1
        return np.stack([self._blocks[at], part - self._starts[at]], axis=1)


@dataclass
class _Begun:
    """The first rows of a batch whose other rows lie in windows to come."""

    rows: list[Any] = field(default_factory=list)
    origins: list[npt.NDArray[np.int64]] = field(default_factory=list)

    def hold(self, loaded: _Loaded, part: npt.NDArray[np.int64]) -> None:
        """Keep some rows of a window until the batch is complete."""
        self.rows.append(loaded.side.kind.take(loaded.rows, part))
        self.origins.append(loaded.origins(part))

    def complete(
        self,
        loaded: _Loaded,
        part: npt.NDArray[np.int64],
        mirrored_B: npt.NDArray[np.bool_] | None,
    ) -> PositionBatch:
        """Decode a batch that ends with these rows of a window."""
        side = loaded.side
        if not self.rows:
            return side.kind.encode(
                loaded.rows,
                part,
                lambda at: _name(side, loaded.origins(np.array([at], dtype=np.int64))),
                mirrored_B,
            )
        self.hold(loaded, part)
        rows, origins = side.kind.join(self.rows), np.concatenate(self.origins)
        self.rows, self.origins = [], []
        everything = np.arange(len(origins), dtype=np.int64)
        return side.kind.encode(
            rows, everything, lambda at: _name(side, origins[at]), mirrored_B
        )


def _name(side: SideRows, origin: npt.NDArray[np.int64]) -> str:
    block, offset = (int(value) for value in origin.reshape(-1)[:2])
    return side.locate(side.block(block), offset)
