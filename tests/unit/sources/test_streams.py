"""Iterators that are read at the same time."""

import threading
import time
from collections.abc import Iterator

import pytest

from maou.sources.streams import merged


def test_all_items_come_once():
    sources = [iter(range(10 * n, 10 * n + 10)) for n in range(7)]
    assert sorted(merged(sources, 3)) == list(range(70))
    assert list(merged([], 3)) == []


def test_they_are_read_at_the_same_time():
    barrier = threading.Barrier(3, timeout=10)

    def one() -> Iterator[int]:
        yield barrier.wait()

    assert sorted(merged([one() for _ in range(3)], 3)) == [0, 1, 2]


def test_an_exception_ends_all():
    def failing() -> Iterator[int]:
        yield 1
        raise ValueError("said")

    with pytest.raises(ValueError, match="said"):
        list(merged([failing(), iter(range(100_000))], 2))
    _wait_for_threads()


def test_a_reader_that_goes_away_ends_all():
    reading = merged([iter(range(100_000)) for _ in range(3)], 2)
    assert next(reading) == 0
    reading.close()
    _wait_for_threads()


def _wait_for_threads() -> None:
    """Wait until no thread of ours is left."""
    deadline = time.monotonic() + 10
    while any("work" in thread.name for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
