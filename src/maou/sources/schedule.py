"""Which bytes of an arriving data set to fetch next.

First what somebody waits for; then what is used next, in the order of use; then the
rest. What is used now and next comes without its neighbours, so that it comes soon.
While reading is further behind, a request takes neighbours along: they are needed later
and requests cost time too.
"""

import threading
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from maou.records.arriving import PLACE, WANTED_AT, Area

MOST, AHEAD, WHOLE = 64, 32, 256
"""Pieces of a request at most: of what is used soon, of what is used later, and where
nothing can begin before all is there."""

SMALL = 16
"""Files of at most so many pieces are fetched in one request."""

_KNOWN = 16  # uses that are known ahead: of each some ten thousand numbers
_SEARCHED = 1 << 16  # pieces looked at together
_NOTHING = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class Span:
    """Pieces [first, last) of one file."""

    file: int
    first: int
    last: int


class Pieces(NamedTuple):
    """Pieces that are used together, and how reading calls it when it comes there."""

    place: int
    pieces: npt.NDArray[np.int64]


class _Due:
    """Some pieces in the order in which to fetch them."""

    def __init__(self, pieces: npt.NDArray[np.int64]) -> None:
        self.pieces, self.at = pieces, 0


class Schedule:
    """Gives out what is missing, each piece to one thread."""

    def __init__(self, area: Area) -> None:
        """Begin with what is wanted; the order of use will be told."""
        self._area = area
        self._lock = threading.Lock()
        self._taken = np.zeros(len(area.sums), dtype=np.bool_)
        self._uses: deque[Pieces] = deque()
        self._room = threading.Condition(self._lock)
        self._told = False
        self._places: dict[int, int] = {}
        self._wanted = self._next = _Due(_NOTHING)
        self._looked_at = 0
        self._rest = 0

    def add(self, use: Pieces) -> None:
        """Learn what is used next; waits while much is known already."""
        with self._room:
            self._room.wait_for(lambda: len(self._uses) < _KNOWN)
            self._uses.append(use)

    def end(self) -> None:
        """Learn that nothing more is used in an order of its own."""
        with self._lock:
            self._told = True

    def take(self) -> Span | None:
        """Give the next pieces to fetch; None if all that is missing is being fetched.

        The caller gives them back, fetched or not.
        """
        with self._lock:
            found = self._of_wanted() or self._of_uses() or self._of_rest()
            if found is not None:
                self._taken[found.first : found.last] = True
            return found

    def give_back(self, span: Span) -> None:
        """End what `take` began."""
        with self._lock:
            self._taken[span.first : span.last] = False
            self._rest = min(self._rest, span.first)

    def _is_missing(self, piece: int) -> bool:
        return self._area.sums[piece] == 0 and not self._taken[piece]

    def _missing(self, pieces: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        missing: npt.NDArray[np.int64] = pieces[
            (self._area.sums[pieces] == 0) & ~self._taken[pieces]
        ]
        return missing

    def _of_wanted(self) -> Span | None:
        asked_at = int(self._area.state[WANTED_AT])
        if asked_at != self._looked_at:
            self._looked_at = asked_at
            self._wanted = _Due(self._missing(np.flatnonzero(self._area.wanted.copy())))
        return self._first_of(self._wanted, MOST)

    def _of_uses(self) -> Span | None:
        while True:
            behind = len(self._places) - 1 > self._here() + 1
            found = self._first_of(self._next, MOST)
            if found is not None:
                return self._widened(found, AHEAD) if behind else found
            if not self._advance():
                return None

    def _of_rest(self) -> Span | None:
        count = len(self._taken)
        while self._told and self._rest < count:
            end = min(self._rest + _SEARCHED, count)
            missing = self._missing(np.arange(self._rest, end))
            if len(missing):
                self._rest = int(missing[0])
                most = MOST if self._places else WHOLE
                return self._widened(self._span(self._rest, self._rest + 1), most)
            self._rest = end
        return None

    def _here(self) -> int:
        """Number the use that reading has come to."""
        return self._places.get(int(self._area.state[PLACE]), 0)

    def _advance(self) -> bool:
        """Go on to the next use."""
        if not self._uses:
            return False
        use = self._uses.popleft()
        self._room.notify()
        self._places[use.place] = len(self._places)
        self._next = _Due(use.pieces)
        return True

    def _first_of(self, due: _Due, most: int) -> Span | None:
        """Give the next pieces that are missing and lie together."""
        pieces = due.pieces
        while due.at < len(pieces) and not self._is_missing(int(pieces[due.at])):
            due.at += 1
        if due.at == len(pieces):
            return None
        first = int(pieces[due.at])
        end = min(self._end_of(first), first + most)
        last = first
        while last < end and due.at < len(pieces) and pieces[due.at] == last:
            if not self._is_missing(last):
                break
            last += 1
            due.at += 1
        span = self._span(first, last)
        return self._widened(span, SMALL) if self._is_small(span.file) else span

    def _widened(self, span: Span, most: int) -> Span:
        """Take neighbours along, first those behind, up to a number of pieces."""
        first, last = span.first, span.last
        begin, end = self._area.firsts[span.file], self._end_of(span.first)
        while last < end and last - first < most and self._is_missing(last):
            last += 1
        while first > begin and last - first < most and self._is_missing(first - 1):
            first -= 1
        return Span(span.file, first, last)

    def _span(self, first: int, last: int) -> Span:
        file = int(np.searchsorted(self._area.firsts, first, side="right")) - 1
        return Span(file, first, last)

    def _end_of(self, piece: int) -> int:
        file = int(np.searchsorted(self._area.firsts, piece, side="right"))
        firsts = self._area.firsts
        return int(firsts[file]) if file < len(firsts) else len(self._taken)

    def _is_small(self, file: int) -> bool:
        first, last = self._area.span(file, 0, int(self._area.sizes[file]))
        return last - first <= SMALL
