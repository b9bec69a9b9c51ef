"""A parsed game to hcpe rows: position codes, moves and evaluations."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from rsshogi.core import Move

from maou.convert.coding import code_positions, start_of_sfen
from maou.convert.config import HcpeConvertConfig
from maou.convert.games import Game
from maou.records.hcpe import HCPE


class Filters(NamedTuple):
    """Which games and positions to keep; see the settings of the same names."""

    min_rating: int | None
    min_moves: int | None
    max_moves: int | None
    statuses: frozenset[str]
    plies: frozenset[int]
    moves: tuple[int, ...]

    @classmethod
    def of(cls, config: HcpeConvertConfig) -> "Filters":
        """Build the filters that a configuration asks for."""
        plies: set[int] = set()
        moves: list[int] = []
        for text in config.exclude_moves:
            if text.replace("-", "").isdigit():
                first, _, last = text.partition("-")
                plies.update(range(int(first), int(last or first) + 1))
            else:
                moves.append(Move.from_usi(text).to_apery().value)
        return cls(
            config.min_rating,
            config.min_moves,
            config.max_moves,
            frozenset(config.allowed_endgame_status),
            frozenset(plies),
            tuple(moves),
        )

    def drops(self, game: Game) -> str:
        """Name the flag that drops a game; empty when it stays."""
        plies = len(game.moves)
        if self.min_rating is not None and min(game.ratings) < max(1, self.min_rating):
            return "--min-rating"
        if self.min_moves is not None and plies < self.min_moves:
            return "--min-moves"
        if self.max_moves is not None and plies > self.max_moves:
            return "--max-moves"
        if self.statuses and game.status not in self.statuses:
            return "--allowed-endgame-status"
        return ""


class GameRows(NamedTuple):
    """The rows of one game: raw records and the number of the move of each."""

    rows: npt.NDArray[Any]
    plies: npt.NDArray[np.int16]


def rows_of(game: Game, filters: Filters) -> GameRows:
    """Code the positions of a game, each before its move.

    Args:
        game: the game; it holds at least one move.
        filters: which positions to leave out.

    Returns:
        Records of dtype `HCPE` and the number of each one's move, from 1.
    """
    count = len(game.moves)
    rows = np.zeros(count, dtype=HCPE)
    start = start_of_sfen(game.start)
    whole = code_positions(
        start.board.copy(),
        start.hands.copy(),
        start.turn,
        game.moves,
        rows.view(np.uint8).reshape(count, HCPE.itemsize),
    )
    assert whole, game
    rows["gameResult"] = game.result
    rows["eval"] = game.evals
    rows["eval"][1 - start.turn :: 2] *= -1  # the moves of white
    plies = np.arange(1, count + 1, dtype=np.int16)
    if filters.plies or filters.moves:
        keep = ~np.isin(plies, list(filters.plies))
        keep &= ~np.isin(rows["bestMove16"], filters.moves)
        rows, plies = rows[keep], plies[keep]
    return GameRows(rows, plies)
