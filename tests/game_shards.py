"""Packed sfen values and hcpe3 games as other tools would write them.

Nothing here uses the product's readers: layouts come from YaneuraOu's and dlshogi's
sources, position codes and legality from rsshogi.
"""

import struct
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from rsshogi.core import Board, Move

Rows = npt.NDArray[np.uint8]

PSV = np.dtype(
    [
        ("sfen", "u1", (32,)),
        ("score", "<i2"),
        ("move", "<u2"),
        ("gamePly", "<u2"),
        ("game_result", "i1"),
        ("padding", "u1"),
    ]
)


@lru_cache(maxsize=1 << 16)
def packed_sfen(hcp: bytes) -> bytes:
    """Code a position as YaneuraOu does."""
    board = Board()
    board.set_hcp(hcp)
    return bytes(board.to_packed_sfen())


def packed_move(move16: int) -> int:
    """Code a move as YaneuraOu does."""
    to, origin, promotes = move16 & 127, move16 >> 7 & 127, move16 >> 14 & 1
    if origin > 80:
        return to | (origin - 80) << 7 | 1 << 14
    return to | origin << 7 | promotes << 15


def psv_of(rows: Rows) -> npt.NDArray[np.void]:
    """Make packed sfen values of raw hcpe records."""
    values = np.zeros(len(rows), dtype=PSV)
    for value, row in zip(values, rows, strict=True):
        data = row.tobytes()
        score, move, result = struct.unpack_from("<hHB", data, 32)
        value["sfen"] = np.frombuffer(packed_sfen(data[:32]), dtype=np.uint8)
        value["score"], value["move"] = score, packed_move(move)
        value["gamePly"] = 1
        won = data[0] & 1  # 0 where black is to move
        value["game_result"] = 0 if result == 0 else 1 if result == 1 + won else -1
    return values


class Game(NamedTuple):
    """A game as hcpe3 holds it; moves are (move16, eval, candidates)."""

    start: bytes
    result: int
    moves: Sequence[tuple[int, int, Sequence[tuple[int, int]]]]


def hcpe3_bytes(games: Iterable[Game]) -> bytes:
    """Write games one behind the other."""
    parts = []
    for game in games:
        parts.append(game.start + struct.pack("<HBB", len(game.moves), game.result, 0))
        for move, score, candidates in game.moves:
            parts.append(struct.pack("<HhH", move, score, len(candidates)))
            parts += [struct.pack("<HH", *one) for one in candidates]
    return b"".join(parts)


def random_games(count: int, plies: int, seed: int) -> list[Game]:
    """Play random legal moves; a third of them have no candidates."""
    random = np.random.default_rng(seed)
    games = []
    for number in range(count):
        board = Board()
        start = bytes(board.to_hcp())
        moves = []
        for _ in range(plies):
            legal = board.legal_moves()
            if not legal:
                break
            move: Move = legal[random.integers(len(legal))]
            others = [
                (one.to_apery().value & 0x7FFF, int(random.integers(1, 900)))
                for one in legal[: random.integers(0, 3)]
            ]
            score = int(random.integers(-30000, 30000))
            moves.append((move.to_apery().value & 0x7FFF, score, others))
            board.apply_move(move)
        games.append(Game(start, (number % 3) | (0, 4, 8, 16)[number % 4], moves))
    return games


def expected_rows(games: Iterable[Game]) -> tuple[Rows, list[int]]:
    """Play games with rsshogi; return the raw hcpe rows and the game of each."""
    rows, owners = [], []
    for number, game in enumerate(games):
        board = Board()
        board.set_hcp(game.start)
        for move, score, candidates in game.moves:
            if candidates:
                said = struct.pack("<hHBB", score, move, game.result & 3, 0)
                rows.append(bytes(board.to_hcp()) + said)
                owners.append(number)
            board.apply_move(_move_of(board, move))
    data = np.frombuffer(b"".join(rows), dtype=np.uint8).reshape(-1, 38)
    return data, owners


def _move_of(board: Board, move16: int) -> Move:
    return next(
        one for one in board.legal_moves() if one.to_apery().value & 0x7FFF == move16
    )


def write_psv(
    path: Path, rows: Rows, ids: Sequence[str] = (), cuts: Sequence[int] = ()
) -> None:
    """Write 40 bytes a record."""
    path.write_bytes(psv_of(rows).tobytes())
