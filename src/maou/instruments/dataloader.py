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
from maou.sources.config import HCPE, FormatConfig
from maou.sources.local import PlayedShards


@dataclass(frozen=True)
class Case:
    """One way to run the loader, and how fast it was.

    Attributes:
        streaming, cache_mode, cache_transforms, workers, prefetch: the case;
            `cache_mode` is empty for streaming, `prefetch` is 0 without workers.
        caching: what becomes of decoded rows; empty if none are kept.
        first_batch: seconds until the first batch, starting processes included.
        rows_per_second: positions a second after that.
    """

    streaming: bool
    cache_mode: str
    cache_transforms: bool
    workers: int
    prefetch: int
    caching: str
    first_batch: float
    rows_per_second: float

    @property
    def flags(self) -> str:
        """The flags of learn-model that give this case."""
        words = ["--streaming" if self.streaming else "--no-streaming"]
        if self.cache_mode:
            words.append(f"--input-cache-mode {self.cache_mode}")
        words.append(f"--{'' if self.cache_transforms else 'no-'}cache-transforms")
        words.append(f"--dataloader-workers {self.workers}")
        if self.workers:
            words.append(f"--prefetch-factor {self.prefetch}")
        return " ".join(words)


def benchmark_dataloader(
    source: FormatConfig,
    config: DataloaderBenchmarkConfig,
    tell: Callable[[Case], None],
    note: Callable[[str], None] = lambda _: None,
) -> list[Case]:
    """Measure every case; return them, the fastest first.

    Args:
        source: the user's data.
        config: the cases, and how long to measure.
        tell: called with each case when it has been measured.
        note: called with lines about the progress of a fetch.

    Raises:
        DataError: the data cannot be read.
        RemoteError: the data cannot be fetched.
    """
    shards = open_data(source, note)
    if shards.origin:
        note(shards.origin)
    hcpe = source.input_format == HCPE
    cases = []
    for data_config, cache_mode in _combinations(config, hcpe=hcpe):
        with shards.naming():
            case = _measure(shards, data_config, cache_mode, config.seconds)
        tell(case)
        cases.append(case)
    return sorted(cases, key=lambda case: case.rows_per_second, reverse=True)


def _combinations(
    config: DataloaderBenchmarkConfig, *, hcpe: bool
) -> Iterator[tuple[DataConfig, str]]:
    """Yield every case that makes a difference: data settings and the cache mode."""
    for (streaming, cache_mode), workers, cache in itertools.product(
        ((True, ""), (False, "file"), (False, "memory")),
        sorted(set(config.workers)),
        (False, True),
    ):
        for prefetch in sorted(set(config.prefetch)) if workers else (1,):
            made = DataConfig(
                batch_size=config.batch_size,
                streaming=streaming,
                cache_transforms=cache,
                dataloader_workers=workers,
                prefetch_factor=prefetch,
            )
            if not cache or not made.cannot_cache(streaming=streaming, hcpe=hcpe):
                yield made, cache_mode


def _measure(
    shards: PlayedShards, config: DataConfig, cache_mode: str, seconds: float
) -> Case:
    data = prepare_data(shards, config, cache_mode or "file")
    if config.streaming and data.train_loader.caching:
        for _ in data.train_loader.batches(0):  # fills the cache
            pass
    batches = _endless(data.train_loader)
    begin = time.perf_counter()
    next(batches)
    first = time.perf_counter() - begin
    begin, rows = time.perf_counter(), 0
    while (taken := time.perf_counter() - begin) < seconds or not rows:
        rows += len(next(batches))
    return Case(
        streaming=data.streaming,
        cache_mode=cache_mode,
        cache_transforms=bool(config.cache_transforms),
        workers=config.dataloader_workers,
        prefetch=config.prefetch_factor if config.dataloader_workers else 0,
        caching=data.train_loader.caching,
        first_batch=first,
        rows_per_second=rows / taken,
    )


def _endless(loader: Loader) -> Iterator[PositionBatch]:
    """Yield the batches of one epoch after the other."""
    for epoch in itertools.count():
        yield from loader.batches(epoch)
