"""The two jobs of a worker: games of a task to rows, and rows to a shard."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from maou.convert.games import Game, Rejected, parse_games
from maou.convert.inputs import Piece, read_games
from maou.convert.rows import Filters, rows_of
from maou.errors import DataError
from maou.records.hcpe import HCPE, rich_dtype
from maou.records.write import write_hcpe_shard
from maou.text import shortened

_MOST_MOVES = 32767  # `moves` is an int16


class Outcome(NamedTuple):
    """What became of one game.

    Attributes:
        file: number of its file among the inputs.
        rows: rows it gave; 0 when it was rejected or filtered.
        reason: why it was rejected; empty when it was not.
        ply: where it was rejected.
        filter: the flag that dropped it; empty when none did.
        date: the day it was played as `YYYY-MM-DD`, or None.
        ratings: black's and white's rating.
        status: how it ended.
        moves: its length.
    """

    file: int
    rows: int = 0
    reason: str = ""
    ply: int = 0
    filter: str = ""
    date: str | None = None
    ratings: tuple[int, int] = (0, 0)
    status: str = ""
    moves: int = 0


class Converted(NamedTuple):
    """The games of a task, in their order, and their rows one after the other."""

    outcomes: list[Outcome]
    rows: npt.NDArray[Any]
    plies: npt.NDArray[np.int16]


class Shard(NamedTuple):
    """A shard to write: its rows, and what each of its games adds to them."""

    path: Path
    container: str
    games: list[tuple[str, Outcome]]
    rows: npt.NDArray[Any]
    plies: npt.NDArray[np.int16]


def convert_task(root: Path, pieces: list[Piece], filters: Filters) -> Converted:
    """Convert the games of a task; a bad game or file becomes an outcome."""
    outcomes: list[Outcome] = []
    rows, plies = [np.empty(0, dtype=HCPE)], [np.empty(0, dtype=np.int16)]
    for piece in pieces:
        before = len(outcomes)
        try:
            for data in read_games(root, piece):
                for game in parse_games(data, piece.format):
                    outcome = _reject(piece, game)
                    if isinstance(game, Game) and not outcome.reason:
                        outcome, made_rows, made_plies = _convert(piece, game, filters)
                        rows.append(made_rows)
                        plies.append(made_plies)
                    outcomes.append(outcome)
        except (OSError, DataError) as error:
            text = getattr(error, "strerror", None) or str(error)
            outcomes.append(Outcome(piece.file, reason=f"unreadable: {text}"))
        if piece.whole and len(outcomes) == before:
            outcomes.append(Outcome(piece.file, reason="no moves: the file is empty"))
    return Converted(outcomes, joined(rows), np.concatenate(plies))


def joined(parts: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Concatenate records, as bytes: numpy is slow to find structured types equal."""
    return np.concatenate([part.view(np.uint8) for part in parts]).view(HCPE)


def _reject(piece: Piece, game: Game | Rejected) -> Outcome:
    if isinstance(game, Rejected):
        return Outcome(piece.file, reason=shortened(game.reason), ply=game.ply)
    if len(game.moves) > _MOST_MOVES:
        reason = f"too long: {len(game.moves)} moves"
        return Outcome(piece.file, reason=reason, ply=_MOST_MOVES)
    return Outcome(piece.file)


def _convert(
    piece: Piece, game: Game, filters: Filters
) -> tuple[Outcome, npt.NDArray[Any], npt.NDArray[np.int16]]:
    dropped = filters.drops(game)
    if dropped:
        empty = np.empty(0, dtype=HCPE), np.empty(0, dtype=np.int16)
        return Outcome(piece.file, filter=dropped), *empty
    rows, plies = rows_of(game, filters)
    outcome = Outcome(
        piece.file,
        rows=len(rows),
        filter="" if len(rows) else "--exclude-moves",
        date=game.date,
        ratings=game.ratings,
        status=game.status,
        moves=len(game.moves),
    )
    return outcome, rows, plies


def write_shard(shard: Shard) -> int:
    """Write a shard; return its size in bytes."""
    rows = shard.rows if shard.container == "hcpe" else _rich(shard)
    write_hcpe_shard(shard.path, rows, shard.container)
    return shard.path.stat().st_size


def _rich(shard: Shard) -> npt.NDArray[Any]:
    rows = np.zeros(len(shard.rows), dtype=rich_dtype())
    for name in ("hcp", "eval", "bestMove16", "gameResult"):
        rows[name] = shard.rows[name]
    games = [game for _, game in shard.games]
    counts = [game.rows for game in games]
    names = np.array([game_id.encode() for game_id, _ in shard.games])
    columns = {
        "partitioningKey": np.array([_day(game.date) for game in games]),
        "ratings": np.array([game.ratings for game in games], dtype=np.uint16),
        "endgameStatus": np.array([game.status.encode()[:16] for game in games]),
        "moves": np.array([game.moves for game in games], dtype=np.int16),
    }
    for name, column in columns.items():
        rows[name] = np.repeat(column, counts, axis=0)
    endings = _ply_endings(int(shard.plies.max()))
    rows["id"] = np.strings.add(np.repeat(names, counts), endings[shard.plies])
    return rows


def _ply_endings(most: int) -> npt.NDArray[np.bytes_]:
    """Return `_0`, `_1`, ... up to `_<most>`: the ends of ids, by ply."""
    return np.array([b"_%d" % ply for ply in range(most + 1)])


def _day(date: str | None) -> np.datetime64:
    try:
        return np.datetime64(date or "NaT", "D")
    except ValueError:  # a date such as 2018-13-45
        return np.datetime64("NaT", "D")
