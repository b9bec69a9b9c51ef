"""Never a hang: a batch that does not come is an error, or a message, that says why."""

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from maou.data import activity
from maou.errors import TrainingError

_LOG = logging.getLogger("maou.data")

STARTUP_SECONDS = 120.0
"""How long worker processes may take to start: they import torch, seconds each."""

_LOOK = 0.02


def worker_died(error: Exception) -> TrainingError:
    """Turn what torch says about a worker that is gone into our error.

    That is said once; the other workers that end now are no news.
    """
    _WorkerDeath.told = True
    return TrainingError(
        f"a loader process died ({error}); if memory ran out, use fewer "
        "--dataloader-workers or a smaller --prefetch-factor"
    )


def says_worker_died(error: RuntimeError) -> bool:
    """Tell torch's error about a dead worker from others."""
    return "DataLoader worker" in str(error)


class _WorkerDeath:
    """A SIGCHLD handler: torch's, with our error, once."""

    told = False

    def __init__(self, handler: Callable[[int, FrameType | None], object]) -> None:
        self._handler = handler

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.told:
            return
        try:
            self._handler(number, frame)
        except RuntimeError as error:
            raise worker_died(error) from error


def name_worker_deaths() -> None:
    """Have a dead worker raise our error in the main thread, wherever that is.

    torch has it raise its own as soon as it has made workers.
    """
    _WorkerDeath.told = False
    if threading.current_thread() is not threading.main_thread():
        return
    handler = signal.getsignal(signal.SIGCHLD)
    if callable(handler) and not isinstance(handler, _WorkerDeath):
        signal.signal(signal.SIGCHLD, _WorkerDeath(handler))


def wait_for_start(table: activity.Table) -> None:
    """Wait until all workers have started, so that starting counts as no stall.

    Args:
        table: what each worker does, int64 [workers, 5].
    """
    deadline = time.monotonic() + STARTUP_SECONDS
    while time.monotonic() < deadline:
        if all(activity.started(row) for row in table):
            return
        time.sleep(_LOOK)


def stall_error(
    timeout: float, batch: str, table: activity.Table, paths: Sequence[Path]
) -> TrainingError:
    """Say which batch did not come, and what each worker is at.

    Args:
        timeout: seconds that were waited.
        batch: the batch, such as `batch 3 of epoch 1`.
        table: what each worker does, int64 [workers, 5].
        paths: files of the shards.
    """
    workers = "; ".join(
        f"worker {number}: {activity.describe(row, paths)}"
        for number, row in enumerate(table)
    )
    return TrainingError(
        f"no batch came for {timeout:g} s, waiting for {batch} ({workers}); look at "
        "the storage, or raise --loader-timeout"
    )


@contextmanager
def watched(timeout: float, paths: Sequence[Path]) -> Iterator[None]:
    """While this process makes batches itself, say once if a step takes too long.

    Nothing can interrupt a read that blocks; a thread beside it can say what waits.
    """
    row, done = activity.own_row(), threading.Event()

    def watch() -> None:
        told = 0
        while not done.wait(min(timeout / 4, 5.0)):
            step, begun = int(row[0]), int(row[4])
            waits = step in (activity.READING, activity.MAKING, activity.WAITING)
            late = activity.seconds_since(row) > timeout
            if waits and late and told != begun:
                told = begun
                _LOG.warning(
                    "The loader is still %s; look at the storage "
                    "(--loader-timeout %g; Ctrl-C ends the run)",
                    activity.describe(row, paths),
                    timeout,
                )

    thread = threading.Thread(target=watch, name="maou loader watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        activity.note(activity.IDLE)
