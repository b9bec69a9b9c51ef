"""Which bytes of an arriving data set are fetched next."""

import threading

import numpy as np
import pytest

from maou.records.arriving import PIECE, PLACE
from maou.sources.area import SharedArea
from maou.sources.cache import Cache
from maou.sources.schedule import AHEAD, SMALL, WHOLE, Pieces, Schedule, Span


@pytest.fixture
def area(tmp_path):
    """Files of 3, 100 and 400 pieces; nothing there."""
    names = ["a.hcpe", "b.hcpe", "c.hcpe"]
    shared = SharedArea(Cache(tmp_path), names, [3 * PIECE, 100 * PIECE, 400 * PIECE])
    yield shared.area
    shared.close()


def _fetch_all(schedule: Schedule, area) -> list[Span]:
    spans = []
    while (span := schedule.take()) is not None:
        assert not area.sums[span.first : span.last].any()
        area.sums[span.first : span.last] = 1
        schedule.give_back(span)
        spans.append(span)
    return spans


def test_nothing_is_fetched_before_the_order_is_told(area):
    schedule = Schedule(area)
    assert schedule.take() is None
    schedule.end()
    spans = _fetch_all(schedule, area)
    assert area.sums.all()
    assert max(span.last - span.first for span in spans) == WHOLE
    assert [span.file for span in spans] == [0, 1, 2, 2]


def test_what_is_wanted_comes_before_what_is_used_next(area):
    schedule = Schedule(area)
    schedule.add(Pieces(1, np.array([10, 11, 50, 200])))
    area.want(301, 303)
    assert schedule.take() == Span(2, 301, 303)
    assert schedule.take() == Span(1, 10, 12)
    area.want(60, 61)
    assert schedule.take() == Span(1, 60, 61)
    assert schedule.take() == Span(1, 50, 51)
    assert schedule.take() == Span(2, 200, 201)
    assert schedule.take() is None, "all of it is under way"


def test_a_small_file_comes_in_one_request(area):
    schedule = Schedule(area)
    area.want(1, 2)
    assert schedule.take() == Span(0, 0, 3)
    assert SMALL < 100


def test_neighbours_come_along_while_reading_is_behind(area):
    schedule = Schedule(area)
    for place in (11, 12, 13, 14):
        schedule.add(Pieces(place, np.array([60 * (place - 10) + 45])))
    assert [schedule.take() for _ in range(2)] == [Span(2, 105, 106), Span(2, 165, 166)]
    assert schedule.take() == Span(2, 225, 225 + AHEAD), "two uses ahead of reading"
    area.state[PLACE] = 13
    assert schedule.take() == Span(2, 285, 286), "reading has caught up"


def test_pieces_that_are_given_back_missing_are_taken_again(area):
    schedule = Schedule(area)
    schedule.end()
    first = schedule.take()
    second = schedule.take()
    assert (first.file, second.file) == (0, 1)
    schedule.give_back(first)
    assert schedule.take() == first


def test_little_is_known_ahead(area):
    """However long the order is, it takes no more memory."""
    schedule = Schedule(area)
    added = []

    def add() -> None:
        for place in range(100):
            schedule.add(Pieces(place + 1, np.array([place])))
            added.append(place)

    thread = threading.Thread(target=add, daemon=True)
    thread.start()
    thread.join(0.2)
    assert len(added) == 16
    while thread.is_alive() or schedule.take() is not None:
        schedule.take()
    assert len(added) == 100
