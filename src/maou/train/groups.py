"""The batches of an optimiser step, and how long they took to come."""

import itertools
import time
from collections.abc import Iterable, Iterator

from maou.data.batch import PositionBatch

Group = tuple[PositionBatch, ...]


def grouped(batches: Iterable[PositionBatch], size: int) -> Iterator[Group]:
    """Take batches `size` at a time; the last group may be smaller."""
    iterator = iter(batches)
    while group := tuple(itertools.islice(iterator, size)):
        yield group


def timed(groups: Iterator[Group]) -> Iterator[tuple[Group, float]]:
    """Give each group with the seconds spent waiting for it."""
    while True:
        begin = time.perf_counter()
        group = next(groups, None)
        if group is None:
            return
        yield group, time.perf_counter() - begin
