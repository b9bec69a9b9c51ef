"""The loader's speed on a user's own data, for each way to run it."""

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from maou.data.batch import PositionBatch
from maou.data.config import DataConfig
from maou.data.loader import Loader
from maou.data.pipeline import open_data, prepare_data
from maou.instruments.config import DataloaderBenchmarkConfig
from maou.sources.config import SourceConfig


@dataclass(frozen=True)
class Case:
    """One way to run the loader, and how fast it was.

    Attributes:
        streaming, cache_mode, workers, prefetch: the case; `cache_mode` is empty for
            streaming, `prefetch` is 0 without workers.
        first_batch: seconds until the first batch, starting processes included.
        rows_per_second: positions a second after that.
    """

    streaming: bool
    cache_mode: str
    workers: int
    prefetch: int
    first_batch: float
    rows_per_second: float

    @property
    def flags(self) -> str:
        """The flags of learn-model that give this case."""
        words = ["--streaming" if self.streaming else "--no-streaming"]
        if self.cache_mode:
            words.append(f"--input-cache-mode {self.cache_mode}")
        words.append(f"--dataloader-workers {self.workers}")
        if self.workers:
            words.append(f"--prefetch-factor {self.prefetch}")
        return " ".join(words)


def benchmark_dataloader(
    source: SourceConfig,
    config: DataloaderBenchmarkConfig,
    tell: Callable[[Case], None],
) -> list[Case]:
    """Measure every case; return them, the fastest first.

    Args:
        source: the user's data.
        config: the cases, and how long to measure.
        tell: called with each case when it has been measured.

    Raises:
        DataError: the data cannot be read.
    """
    cases = []
    for streaming, cache_mode, workers, prefetch in _combinations(config):
        case = _measure(source, config, (streaming, cache_mode, workers, prefetch))
        tell(case)
        cases.append(case)
    return sorted(cases, key=lambda case: case.rows_per_second, reverse=True)


def _combinations(
    config: DataloaderBenchmarkConfig,
) -> Iterator[tuple[bool, str, int, int]]:
    for streaming, cache_mode in ((True, ""), (False, "file"), (False, "memory")):
        for workers in sorted(set(config.workers)):
            for prefetch in sorted(set(config.prefetch)) if workers else (0,):
                yield streaming, cache_mode, workers, prefetch


def _measure(
    source: SourceConfig,
    config: DataloaderBenchmarkConfig,
    combination: tuple[bool, str, int, int],
) -> Case:
    streaming, cache_mode, workers, prefetch = combination
    data_config = DataConfig(
        batch_size=config.batch_size,
        streaming=streaming,
        dataloader_workers=workers,
        prefetch_factor=max(1, prefetch),
    )
    data = prepare_data(open_data(source), data_config, cache_mode or "file")
    batches = _endless(data.train_loader)
    begin = time.perf_counter()
    next(batches)
    first = time.perf_counter() - begin
    begin, rows = time.perf_counter(), 0
    while (taken := time.perf_counter() - begin) < config.seconds or not rows:
        rows += len(next(batches))
    return Case(streaming, cache_mode, workers, prefetch, first, rows / taken)


def _endless(loader: Loader) -> Iterator[PositionBatch]:
    """Yield the batches of one epoch after the other."""
    for epoch in itertools.count():
        yield from loader.batches(epoch)
