"""Several iterators read at a time, by threads."""

import queue
import threading
from collections.abc import Generator, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

_WAIT = 0.1
"""Seconds after which a thread that cannot go on looks whether it should end."""


def merged(sources: Sequence[Iterator[T]], workers: int) -> Generator[T]:
    """Yield what iterators give, in the order in which it comes.

    As many items as there are workers wait at most. The first exception ends all.

    Args:
        sources: the iterators, each read by one thread at a time.
        workers: how many are read at the same time.
    """
    waiting: queue.SimpleQueue[Iterator[T]] = queue.SimpleQueue()
    for source in sources:
        waiting.put(source)
    ready: queue.Queue[tuple[list[T], BaseException | None, bool]]
    ready = queue.Queue(workers)
    stop = threading.Event()

    def give(items: list[T], error: BaseException | None, last: bool) -> None:
        while not stop.is_set():
            try:
                ready.put((items, error, last), timeout=_WAIT)
            except queue.Full:
                continue
            return

    def work() -> None:
        try:
            while not stop.is_set():
                for item in waiting.get_nowait():
                    give([item], None, False)
                    if stop.is_set():
                        return
        except queue.Empty:
            give([], None, True)
        except BaseException as error:  # noqa: BLE001 - raised where they are read
            give([], error, True)

    count = min(workers, len(sources))
    threads = [threading.Thread(target=work, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    running = count
    try:
        while running:
            items, error, last = ready.get()
            if error is not None:
                raise error
            yield from items
            running -= last
    finally:
        stop.set()
