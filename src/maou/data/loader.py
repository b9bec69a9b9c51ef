"""Loaders: batches of an epoch, made here or by worker processes.

The batches of an epoch and their order depend on the data, the seed and the epoch
alone. Workers start by `spawn`, so they inherit no threads and no open GPU. An error in
a worker arrives as the same one-line DataError that it would be here. A worker that is
killed, or that gives nothing for too long, is a TrainingError that says what it did.
"""

import functools
import signal
import sys
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Protocol

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from maou.data import activity
from maou.data.batch import PositionBatch
from maou.data.config import DataConfig
from maou.data.map_style import MapRows, MapTask
from maou.data.streaming import StreamingRows
from maou.data.waiting import (
    name_worker_deaths,
    says_worker_died,
    stall_error,
    wait_for_start,
    watched,
    worker_died,
)
from maou.errors import DataError, RemoteError, TrainingError
from maou.records import arriving


class BatchSource(Protocol):
    """Anything that gives the batches of an epoch."""

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""

    def batches(self, epoch: int, start: int = 0) -> Iterator[PositionBatch]:
        """Yield the batches of an epoch from number `start` on."""


class _Failure:
    """An error about the data on its way out of a worker."""

    def __init__(self, error: DataError | RemoteError) -> None:
        self.error = error.with_traceback(None)

    def pin_memory(self) -> "_Failure":
        return self


class _StreamInWorkers(IterableDataset[Any]):
    """Each worker makes every n-th batch; the DataLoader takes them in turn."""

    def __init__(self, rows: StreamingRows) -> None:
        self._rows = rows
        self._place = torch.zeros(2, dtype=torch.int64)
        self._place.share_memory_()  # type: ignore[no-untyped-call]

    def set_place(self, epoch: int, start: int) -> None:
        """Choose what the next iteration yields (read by workers when it begins)."""
        self._place[0] = epoch
        self._place[1] = start

    def __iter__(self) -> Iterator[Any]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        torch.set_num_threads(1)
        epoch, start = (int(value) for value in self._place)
        try:
            yield from self._rows.batches(epoch, start + worker, workers)
        except (DataError, RemoteError) as error:
            yield _Failure(error)


class _MapInWorkers(torch.utils.data.Dataset[Any]):
    def __init__(self, rows: MapRows) -> None:
        self._rows = rows

    def __getitem__(self, task: MapTask) -> Any:
        torch.set_num_threads(1)
        try:
            return self._rows[task]
        except DataError as error:
            return _Failure(error)


class _Tasks:
    """The sampler of a map-style DataLoader: whole batches of row numbers."""

    def __init__(self, rows: MapRows) -> None:
        self._rows = rows
        self.epoch = 0
        self.start = 0

    def __iter__(self) -> Iterator[MapTask]:
        return self._rows.tasks(self.epoch, self.start)

    def __len__(self) -> int:
        return len(self._rows) - self.start


def _tell_unless_alone(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Print an error of a worker's thread, unless the main process just went away."""
    if not issubclass(kind, (ConnectionError, EOFError)):
        sys.__excepthook__(kind, error, trace)


def _begin_worker(steps: torch.Tensor, worker: int) -> None:
    """Write steps to this worker's row, and leave Ctrl-C to the main process.

    That one ends its workers; a batch that it no longer fetches is nothing to tell.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.excepthook = _tell_unless_alone
    activity.write_to(steps[worker].numpy())


def patient(items: Iterator[Any]) -> Iterator[Any]:
    """Pass items on; rows that come slowly from a store, but come, are no stall."""
    come = arriving.arrived()
    while True:
        try:
            item = next(items, None)
        except RuntimeError as error:
            before, come = come, arriving.arrived()
            if come == before or "DataLoader timed out" not in str(error):
                raise
            continue
        if item is None:
            return
        yield item


class Loader:
    """Batches of training rows, in this process or from workers.

    Args:
        rows: a streaming or a map-style dataset.
        config: workers, prefetch and page-locked memory.
    """

    def __init__(self, rows: StreamingRows | MapRows, config: DataConfig) -> None:
        """Start no process yet; workers start with the first epoch."""
        self._rows = rows
        self._config = config
        self._pin = config.pin_memory and torch.cuda.is_available()
        self._steps = torch.zeros(
            (config.dataloader_workers, activity.COLUMNS), dtype=torch.int64
        )
        self._paths = [shard.path for shard in rows.side.shards]
        self._tasks: _Tasks | None = None
        self._stream: _StreamInWorkers | None = None
        self._workers: DataLoader[Any] | None = None

    @property
    def caching(self) -> str:
        """What becomes of decoded rows, for people; empty if none are kept."""
        return self._rows.reader.caching

    def _prepare(self) -> "DataLoader[Any]":
        """Make the DataLoader; its workers start when it is first iterated."""
        config = self._config
        self._steps.share_memory_()  # type: ignore[no-untyped-call]
        common: dict[str, Any] = {
            "batch_size": None,
            "num_workers": config.dataloader_workers,
            "prefetch_factor": config.prefetch_factor,
            "persistent_workers": True,
            "multiprocessing_context": "spawn",
            "pin_memory": self._pin,
            "worker_init_fn": functools.partial(_begin_worker, self._steps),
            "timeout": config.loader_timeout,
            # Its own, or having workers would change what the network draws.
            "generator": torch.Generator(),
        }
        if isinstance(self._rows, MapRows):
            self._rows.share()
            self._tasks = _Tasks(self._rows)
            dataset = _MapInWorkers(self._rows)
            return DataLoader(dataset, sampler=self._tasks, **common)
        self._stream = _StreamInWorkers(self._rows)
        return DataLoader(self._stream, **common)

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        return len(self._rows)

    def batches(self, epoch: int, start: int = 0) -> Iterator[PositionBatch]:
        """Yield the batches of an epoch from number `start` on.

        Raises:
            DataError: a row is damaged, or a file cannot be read.
            RemoteError: rows that are still in a store will not come.
            TrainingError: a worker died, or nothing came for `loader_timeout` seconds.
        """
        if self._config.dataloader_workers:
            yield from self._from_workers(epoch, start)
            return
        with watched(self._config.loader_timeout, self._paths):
            for batch in self._here(epoch, start):
                yield batch.pin_memory() if self._pin else batch

    def _here(self, epoch: int, start: int) -> Iterator[PositionBatch]:
        if isinstance(self._rows, MapRows):
            for task in self._rows.tasks(epoch, start):
                yield self._rows[task]
        else:
            yield from self._rows.batches(epoch, start)

    def _from_workers(self, epoch: int, start: int) -> Iterator[PositionBatch]:
        if self._workers is None:
            with watched(self._config.loader_timeout, self._paths):
                self._workers = self._prepare()
        if self._tasks is not None:
            self._tasks.epoch, self._tasks.start = epoch, start
        if self._stream is not None:
            self._stream.set_place(epoch, start)
        number = start
        try:
            items = iter(self._workers)
            name_worker_deaths()
            table = self._steps.numpy()
            wait_for_start(table)
            for item in patient(items):
                if isinstance(item, _Failure):
                    raise item.error
                yield item
                number += 1
        except TrainingError:
            raise
        except (ConnectionError, EOFError) as error:  # killed while it handed over
            raise worker_died(error) from error
        except RuntimeError as error:
            if says_worker_died(error):
                raise worker_died(error) from error
            if "DataLoader timed out" not in str(error):
                raise
            wanted = f"batch {number} of epoch {epoch + 1}"
            table = self._steps.numpy()
            timeout = self._config.loader_timeout
            raise stall_error(timeout, wanted, table, self._paths) from error
