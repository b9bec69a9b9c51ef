"""The streaming dataset: a bounded window of rows, shuffled, cut into batches.

Memory is one window (and less than one batch) of rows, raw hcpe 38 bytes each, whatever
the size of the data, and what `--cache-transforms` keeps, which is bounded too. Every
worker reads every window, which costs little beside decoding, and decodes only its own
batches; so the batches are the same for any worker count.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from maou.data import activity
from maou.data.batch import PositionBatch
from maou.data.mirroring import choose_mirrored
from maou.data.order import (
    Window,
    batch_count,
    mirror_key,
    order_within,
    place_of,
    windows,
)
from maou.data.reading import BlockReader
from maou.data.rows import SideRows
from maou.records import arriving


@dataclass(frozen=True)
class StreamingRows:
    """Training rows read window by window.

    Attributes:
        side: the rows.
        batch_size: rows of a batch.
        window_rows: rows shuffled together.
        seed: seed of the order.
        mirror_probability: share of the rows to mirror.
        cache_limit: bytes of decoded rows to keep from epoch to epoch.
        reader: reads the blocks.
    """

    side: SideRows
    batch_size: int
    window_rows: int
    seed: int
    mirror_probability: float = 0.0
    cache_limit: int = 0
    reader: BlockReader = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Make the reader; it reads nothing yet."""
        reader = BlockReader(self.side, self.cache_limit, keep=True)
        object.__setattr__(self, "reader", reader)

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
        arriving.begin(place_of(window, epoch, validation=self.side.validation))
        loaded = _Loaded(self.reader, window)
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
            activity.note(activity.MAKING, number)
            batch = begun.complete(loaded, part, mirrored_B)
            activity.note(activity.MADE, number)
            yield batch
            number += stride
        return number


class _Loaded:
    """The rows of a window, and where each came from."""

    def __init__(self, reader: BlockReader, window: Window) -> None:
        self.side, self.kind = reader.side, reader.kind
        self._blocks = window.blocks
        counts = self.side.bounds[window.blocks, 3]
        self._starts = np.cumsum(counts) - counts
        self.rows = reader.read_all(window.blocks)

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
        self.rows.append(loaded.kind.take(loaded.rows, part))
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
            return loaded.kind.encode(
                loaded.rows,
                part,
                lambda at: _name(side, loaded.origins(np.array([at], dtype=np.int64))),
                mirrored_B,
            )
        self.hold(loaded, part)
        rows, origins = loaded.kind.join(self.rows), np.concatenate(self.origins)
        self.rows, self.origins = [], []
        everything = np.arange(len(origins), dtype=np.int64)
        return loaded.kind.encode(
            rows, everything, lambda at: _name(side, origins[at]), mirrored_B
        )


def _name(side: SideRows, origin: npt.NDArray[np.int64]) -> str:
    block, offset = (int(value) for value in origin.reshape(-1)[:2])
    return side.locate(side.block(block), offset)
