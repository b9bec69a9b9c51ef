"""The order in which a run uses its rows, for what fetches them meanwhile."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maou.data.config import DataConfig
from maou.data.order import Window, batch_count, place_of, windows
from maou.data.pipeline import VALIDATION_WINDOW, TrainingData, holds_stage
from maou.data.rows import SideRows
from maou.records.preprocess_shards import PreprocessShard
from maou.records.shards import Shard
from maou.sources.arrivals import Part, Use

_NO_PLACE = -1


def fetch_in_order(
    data: TrainingData, config: DataConfig, begun: tuple[int, int], measured: int
) -> None:
    """Have what is still in a store fetched in the order of its use.

    Args:
        data: the data of a run.
        config: what it was prepared with.
        begun: the epoch that the run begins or goes on with, and how many of its
            batches are made.
        measured: how many validation rows are measured before that.
    """
    if data.shards.arriving is None:
        return
    assert not holds_stage(data.shards)
    epoch, batches = begun
    order = _Order(data.shards.shards, data.training, data.validation)
    first = batch_count(measured, config.batch_size) * config.batch_size
    training = (
        order.streamed(config, epoch, batches) if data.streaming else order.whole()
    )
    data.shards.arriving.follow(
        itertools.chain(
            order.validated(0, first), training, order.validated(first, None)
        )
    )


@dataclass(frozen=True)
class _Order:
    """What is used together, up to an epoch's end; later epochs use the same.

    It does not know what fetches: that would then never go away.
    """

    shards: Sequence[Shard] | Sequence[PreprocessShard]
    training: SideRows
    validation: SideRows

    def streamed(self, config: DataConfig, epoch: int, batches: int) -> Iterator[Use]:
        """Yield the training windows from a batch on."""
        counts, done = self.training.bounds[:, 3], batches * config.batch_size
        for window in windows(counts, config.shuffle_rows, config.seed, epoch):
            if done < window.first + window.count:
                yield self._use(self.training, window, epoch)

    def whole(self) -> Iterator[Use]:
        """Yield all training rows at once."""
        every = np.arange(len(self.training.bounds))
        yield Use(_NO_PLACE, self._parts(self.training, every))

    def validated(self, first: int, end: int | None) -> Iterator[Use]:
        """Yield the validation windows that begin at rows [first, end)."""
        counts = self.validation.bounds[:, 3]
        for window in windows(counts, VALIDATION_WINDOW, 0, 0):
            if first <= window.first and (end is None or window.first < end):
                yield self._use(self.validation, window, 0)

    def _use(self, side: SideRows, window: Window, epoch: int) -> Use:
        place = place_of(window, epoch, validation=side.validation)
        return Use(place, self._parts(side, window.blocks))

    def _parts(self, side: SideRows, blocks: npt.NDArray[np.int64]) -> list[Part]:
        """Say where some blocks of a side lie."""
        return [
            Part(shard, *extent)
            for shard, start, stop in side.bounds[blocks, :3].tolist()
            for extent in self.shards[shard].extents(start, stop)
        ]
