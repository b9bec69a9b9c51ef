"""Shards whose reads block, as those of a dead network drive do."""

import os
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from maou.records.raw import RawShard


class StallingShard(RawShard):
    """A raw shard that waits for a FIFO's writer before rows from `first` on."""

    def __init__(self, path: Path, fifo: Path, first: int) -> None:
        """Open the shard; reading its header does not block."""
        super().__init__(path)
        self._fifo = fifo
        self._first = first

    def read(self, start: int, stop: int) -> npt.NDArray[np.uint8]:
        """Read records, sooner or later."""
        if stop > self._first:
            self._fifo.read_bytes()
        return super().read(start, stop)


def release(fifo: Path, seconds: float = 0.2) -> None:
    """Let go, for some time, whoever waits for the FIFO."""
    writer = os.open(fifo, os.O_RDWR)
    time.sleep(seconds)
    os.close(writer)
