"""A loader that gives nothing says which step waits; a dead worker is an error."""

import logging
import multiprocessing
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from maou.data.config import DataConfig
from maou.data.loader import Loader
from maou.data.map_style import MapRows
from maou.data.rows import SideRows, side_rows
from maou.data.streaming import StreamingRows
from maou.errors import TrainingError
from maou.records.raw import RawShard
from maou.records.split import take_all
from shard_files import write_raw
from stalling_shards import StallingShard, release

ROWS = 4000


@pytest.fixture
def path(selfplay_rows: npt.NDArray[np.uint8], tmp_path: Path) -> Path:
    path = tmp_path / "shard.hcpe"
    write_raw(path, selfplay_rows[:ROWS])
    return path


@pytest.fixture
def fifo(tmp_path: Path) -> Iterator[Path]:
    made = tmp_path / "drive"
    os.mkfifo(made)
    yield made
    release(made)  # workers that still wait


def stalling(path: Path, fifo: Path, first: int) -> SideRows:
    shards = (StallingShard(path, fifo, first),)
    return side_rows(shards, take_all(shards), validation=False)


def loader_of(side: SideRows, streaming: bool, workers: int, timeout: float) -> Loader:
    config = DataConfig(
        batch_size=100,
        dataloader_workers=workers,
        prefetch_factor=1,
        loader_timeout=timeout,
    )
    if streaming:
        return Loader(StreamingRows(side, 100, 1024, seed=0), config)
    return Loader(MapRows(side, 100, seed=0), config)


def test_workers_that_cannot_read_end_the_run(path: Path, fifo: Path) -> None:
    loader = loader_of(stalling(path, fifo, 0), True, workers=2, timeout=3)
    with pytest.raises(TrainingError) as caught:
        next(loader.batches(4, 7))
    message = str(caught.value)
    assert "no batch came for 3 s, waiting for batch 7 of epoch 5" in message
    for worker in (0, 1):
        said = (
            rf"worker {worker}: reading {re.escape(str(path))} rows \d+ to \d+, \d+ s"
        )
        assert re.search(said, message)
    assert "--loader-timeout" in message
    assert "\n" not in message
    release(fifo)


def test_batches_before_the_stall_arrive(path: Path, fifo: Path) -> None:
    loader = loader_of(stalling(path, fifo, 3072), True, workers=1, timeout=3)
    taken = []
    with pytest.raises(TrainingError, match="rows 3072 to 4000"):
        taken.extend(loader.batches(0))
    release(fifo)
    assert sum(map(len, taken)) < ROWS


@pytest.mark.parametrize(("streaming", "workers"), [(True, 0), (False, 0), (False, 1)])
def test_a_read_of_this_process_is_named_once(
    streaming: bool,
    workers: int,
    path: Path,
    fifo: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Map-style rows are read by the main process even with workers."""
    side = stalling(path, fifo, 3072)
    timeout = 3.0 if workers else 0.4  # a worker's first batch takes a second
    loader = loader_of(side, streaming, workers, timeout)

    def let_go() -> None:
        while not caplog.records:
            time.sleep(0.05)
        time.sleep(0.6)  # time to say it again, which it must not
        release(fifo)

    with caplog.at_level(logging.WARNING, "maou.data"):
        thread = threading.Thread(target=let_go)
        thread.start()
        loader.batches(0).__next__()
        loaded = sum(map(len, loader.batches(0)))
        thread.join()
    assert loaded == ROWS
    (record,) = caplog.records
    said = record.getMessage()
    assert f"still reading {path} rows 3072 to 4000, " in said
    assert f"--loader-timeout {timeout:g}" in said


@pytest.mark.parametrize("streaming", [True, False])
def test_a_killed_worker_is_an_error(streaming: bool, path: Path) -> None:
    shards = (RawShard(path),)
    side = side_rows(shards, take_all(shards), validation=False)
    loader = loader_of(side, streaming, workers=2, timeout=60)
    before = {child.pid for child in multiprocessing.active_children()}
    batches = loader.batches(0)
    next(batches)
    workers = {child.pid for child in multiprocessing.active_children()} - before
    begin = time.monotonic()
    with pytest.raises(TrainingError, match="a loader process died") as caught:
        _kill_and_go_on(min(filter(None, workers)), batches)
    assert time.monotonic() - begin < 20
    assert "fewer --dataloader-workers" in str(caught.value)


def _kill_and_go_on(pid: int, batches: Iterator[object]) -> None:
    os.kill(pid, signal.SIGKILL)
    for _ in batches:
        time.sleep(0.01)
