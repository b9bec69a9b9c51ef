"""dlshogi's `.hcpe3`: whole games with the visits of the search.

A game is a header of 36 bytes (start position, number of moves, result, opponent), and
for each move 6 bytes (the move played, evaluation, number of candidates) and 4 bytes a
candidate (move, visits). A row is a move that has candidates (dlshogi writes none where
it is not to be learnt from): the position before it, the move played as best move, and
the game's winner. The visits themselves are left out: a row has one move.

Opening a file passes over it once, and keeps 24 bytes a game: where it begins, how many
rows come before, and its key. A game is known by what it holds (start, result, moves
and evaluations), so that the same game in two files is on one side of the split.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from maou.errors import DataError
from maou.records.keys import mix
from maou.records.shards import (
    GameKeys,
    Rows,
    Shard,
    empty_rows,
    file_size,
    read_bytes,
    require_rows,
)
from maou.shogi.compiled import inlined, kernel, signed
from maou.shogi.hcp import HCP_BYTES, STATUS_TEXT, VALID, decode_row
from maou.shogi.pieces import HAND_SIZE
from maou.shogi.playing import can_play, code_position, play, set_up
from maou.shogi.squares import N_SQUARES

_HEADER, _MOVE, _CANDIDATE = 36, 6, 4
_MOVES_AT, _RESULT_AT = 32, 34

MOST_CANDIDATES = 593
"""The most legal moves that a position of shogi can have."""

_FLAGS = 0x4 | 0x8 | 0x10  # repetition, declaration, maximum of moves
_PIECE = 1 << 22  # bytes looked at together

_CUT, _BAD_RESULT, _BAD_CANDIDATES, _UNPLAYABLE, _CHANGED = range(16, 21)
_TEXT = {
    **STATUS_TEXT,
    _CUT: "the file ends before the game does; it is truncated or was written over",
    _BAD_RESULT: "the result is not 0, 1 or 2 with the flags 4, 8 and 16",
    _BAD_CANDIDATES: f"a move has more than {MOST_CANDIDATES} candidates",
    _UNPLAYABLE: "cannot be made in its position, and moves follow",
    _CHANGED: "is not what it was when the file was opened",
}

_AT, _MOVES_LEFT, _ROWS, _GAMES, _START = range(5)
"""Where a pass stands: the byte of the next item, moves of the game that are to come,
rows, games that are done, and where the last game begins."""


@inlined
def _number(data: npt.NDArray[np.uint8], at: int) -> int:
    return signed(data[at]) | signed(data[at + 1]) << 8


@kernel
def _pass_over(
    data: npt.NDArray[np.uint8],
    place: npt.NDArray[np.int64],
    key: npt.NDArray[np.uint64],
    size: int,
    games: npt.NDArray[np.int64],
    keys: npt.NDArray[np.uint64],
) -> tuple[int, int, int]:
    """Go on over the bytes from `place[_AT]`, as far as whole items reach.

    Args:
        data: uint8 [n], the bytes from there on.
        place: int64 [5], changed.
        key: uint64 [1], what the key of the unfinished game has come to; changed.
        size: bytes of the file.
        games: int64 [n, 2], filled with where games begin and the rows before.
        keys: uint64 [n], filled with the keys of games that end here.

    Returns:
        The status (`VALID`, or why the game at `place[_START]` is damaged), how many
        games begin, and how many end.
    """
    base = place[_AT]
    board_S = np.empty(N_SQUARES, dtype=np.uint8)
    hand_H = np.empty(HAND_SIZE, dtype=np.uint8)
    begun = ended = 0
    while place[_AT] < size:
        at = place[_AT] - base
        if place[_MOVES_LEFT] == 0:
            place[_START] = place[_AT]
            if place[_AT] + _HEADER > size:
                return _CUT, begun, ended
            if at + _HEADER > len(data):
                break
            code = data[at : at + HCP_BYTES]
            status = decode_row(code, board_S, hand_H)
            if status != VALID:
                return status, begun, ended
            moves, result = _number(data, at + _MOVES_AT), signed(data[at + _RESULT_AT])
            if result & ~(_FLAGS | 3) or result & 3 == 3:
                return _BAD_RESULT, begun, ended
            place[_AT] += _HEADER
            if place[_AT] + moves * _MOVE > size:
                return _CUT, begun, ended
            key[0] = np.uint64(result)
            for i in range(HCP_BYTES):
                key[0] = mix(key[0] ^ np.uint64(code[i]))
            games[begun, 0], games[begun, 1] = place[_START], place[_ROWS]
            begun += 1
            place[_MOVES_LEFT] = moves
        else:
            if at + _MOVE > len(data):
                break
            candidates = _number(data, at + 4)
            if candidates > MOST_CANDIDATES:
                return _BAD_CANDIDATES, begun, ended
            place[_AT] += _MOVE + candidates * _CANDIDATE
            place[_MOVES_LEFT] -= 1
            if place[_AT] + place[_MOVES_LEFT] * _MOVE > size:
                return _CUT, begun, ended
            said = _number(data, at) | _number(data, at + 2) << 16 | candidates << 32
            key[0] = mix(key[0] ^ np.uint64(said))
            place[_ROWS] += candidates > 0
        if place[_MOVES_LEFT] == 0:
            keys[ended] = key[0]
            ended += 1
            place[_GAMES] += 1
    return VALID, begun, ended


@kernel
def _replay(
    data: npt.NDArray[np.uint8],
    wanted: npt.NDArray[np.int64],
    rows: Rows,
) -> tuple[int, int, int]:
    """Play games and write the wanted rows.

    Args:
        data: uint8 [n], the bytes of whole games.
        wanted: int64 [3], the number of the first row in these bytes, and the bounds
            of the rows to write.
        rows: uint8 [m, 38], filled with the wanted rows.

    Returns:
        The status (`VALID`, or what is wrong), the game's number in these bytes, and
        the number of its move, both from 0.
    """
    row, start, stop = wanted
    board = np.empty(N_SQUARES, dtype=np.uint8)
    hands = np.zeros((2, 8), dtype=np.uint8)
    at = game = 0
    while row < stop:
        if at + _HEADER > len(data):
            return _CHANGED, game, 0
        if set_up(data[at : at + HCP_BYTES], board, hands) != VALID:
            return _CHANGED, game, 0
        turn = signed(data[at] & 1)
        moves, winner = _number(data, at + _MOVES_AT), data[at + _RESULT_AT] & 3
        at += _HEADER
        playable = True
        for ply in range(moves):
            if row >= stop:
                return VALID, 0, 0
            if at + _MOVE > len(data):
                return _CHANGED, game, ply
            move16, candidates = _number(data, at), _number(data, at + 4)
            if candidates > 0:
                if not playable:
                    return _UNPLAYABLE, game, ply - 1
                if row >= start:
                    record = rows[row - start]
                    code_position(board, hands, turn, record)
                    record[32:36] = data[at + 2], data[at + 3], data[at], data[at + 1]
                    record[36] = winner
                row += 1
            playable = playable and can_play(board, hands, turn, move16)
            if playable:
                play(board, hands, turn, move16)
                turn = 1 - turn
            at += _MOVE + candidates * _CANDIDATE
        game += 1
    return VALID, 0, 0


class Hcpe3Shard(Shard):
    """A file of whole games."""

    def __init__(self, path: Path) -> None:
        """Pass over the file to find its games.

        Raises:
            DataError: no such file, no rows, or a game is cut or damaged; the message
                names the game and where it begins.
        """
        self.path = path
        self.has_ids = True
        self._size = file_size(path)
        self._find_games()
        require_rows(path, self.rows)

    def _find_games(self) -> None:
        place = np.zeros(5, dtype=np.int64)
        key = np.zeros(1, dtype=np.uint64)
        games = np.empty((_PIECE // _HEADER + 1, 2), dtype=np.int64)
        keys = np.empty(len(games) + 1, dtype=np.uint64)
        begins, named = [], []
        while place[_AT] < self._size:
            at = int(place[_AT])
            data = read_bytes(self.path, at, min(_PIECE, self._size - at))
            status, begun, ended = _pass_over(data, place, key, self._size, games, keys)
            begins.append(games[:begun].copy())
            named.append(keys[:ended].copy())
            if status != VALID:
                raise DataError(
                    f"{self.path}: game {place[_GAMES]} at byte {place[_START]}: "
                    f"{_TEXT[status]}"
                )
        self.rows = int(place[_ROWS])
        end = np.array([[self._size, self.rows]], dtype=np.int64)
        self._begins, self._firsts = np.concatenate([*begins, end]).T.copy()
        self._keys = np.concatenate([*named, np.empty(0, dtype=np.uint64)])

    def _games_of(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.intp]:
        """Number the games that rows belong to."""
        return np.searchsorted(self._firsts, rows, side="right") - 1

    def read(self, start: int, stop: int) -> Rows:
        """Read rows [start, stop), playing the games that they are of.

        Raises:
            DataError: the file has changed, or a move cannot be made; the message
                names the game and the move.
        """
        rows = empty_rows(stop - start)
        if start == stop:
            return rows
        game, last = self._games_of(np.array([start, stop - 1])).tolist()
        while game <= last:
            room = self._begins[game] + _PIECE
            some = int(np.searchsorted(self._begins, room, side="right")) - 1
            after = min(max(some, game + 1), last + 1)
            self._replay(game, after, start, rows)
            game = after
        return rows

    def _replay(self, game: int, after: int, start: int, rows: Rows) -> None:
        """Write the rows of games [game, after) to their places behind `start`."""
        at = int(self._begins[game])
        data = read_bytes(self.path, at, int(self._begins[after]) - at)
        first = int(self._firsts[game])
        low = max(start, first)
        high = min(start + len(rows), int(self._firsts[after]))
        wanted = np.array([first, low, high], dtype=np.int64)
        status, number, ply = _replay(data, wanted, rows[low - start : high - start])
        if status != VALID:
            number += game
            raise DataError(
                f"{self.path}: game {number} at byte {self._begins[number]}: move "
                f"{ply + 1} {_TEXT[status]}"
            )

    def game_keys(self, start: int, stop: int) -> GameKeys:
        """Return the keys of the games of rows [start, stop)."""
        return self._keys[self._games_of(np.arange(start, stop))]
