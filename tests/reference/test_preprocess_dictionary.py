"""Preprocess records of 20,000 real positions equal a plain dictionary's, exactly.

The dictionary is filled from cshogi's boards and from the rules that docs/formats.md
states; nothing of the product takes part in it.
"""

import struct
from pathlib import Path
from typing import Any, NamedTuple

import cshogi
import numpy as np
import numpy.typing as npt
import pytest

from maou.cli.main import run
from maou.records.preprocess_containers import open_preprocess_shard

ROWS = 20_000
WORD = 2**64

Rows = npt.NDArray[np.uint8]

# cshogi's piece to ours: its order is P L N S B R G K, promoted +8, white +16.
OWN = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 7, 7: 5, 8: 8, 9: 9, 10: 10, 11: 11, 12: 12}
OWN |= {13: 13, 14: 14}
FIRST = {
    "up": 0, "up-left": 72, "up-right": 136, "left": 200, "right": 272, "down": 344,
    "down-left": 416, "down-right": 480, "knight-left": 544, "knight-right": 584,
    "+up": 624, "+up-left": 651, "+up-right": 675, "+left": 699, "+right": 723,
    "+down": 747, "+down-left": 819, "+down-right": 868, "+knight-left": 917,
    "+knight-right": 941,
    "P*": 965, "L*": 1037, "N*": 1109, "S*": 1172, "G*": 1253, "B*": 1334, "R*": 1415,
}  # fmt: skip
DROPS = "PLNSBRG"


class Position(NamedTuple):
    """A position from the side to move."""

    board: tuple[int, ...]
    hand: tuple[int, ...]


def way(origin: int, destination: int, promotes: bool) -> str:
    files = destination // 9 - origin // 9
    ranks = destination % 9 - origin % 9
    sideways = "-left" if files > 0 else "-right" if files < 0 else ""
    if abs(files) == 1 and ranks == -2:
        name = f"knight{sideways}"
    elif ranks:
        name = ("up" if ranks < 0 else "down") + sideways
    else:
        name = sideways[1:]
    return ("+" if promotes else "") + name


def reaches(name: str, destination: int) -> bool:
    """Whether some move of that name ends on a square, from the rules."""
    if name.endswith("*"):
        return destination % 9 >= {"P*": 1, "L*": 1, "N*": 2}.get(name, 0)
    promotes = name.startswith("+")
    for origin in range(81):
        files = destination // 9 - origin // 9
        ranks = destination % 9 - origin % 9
        knight = abs(files) == 1 and ranks == -2
        if origin == destination or not (
            knight or 0 in (files, ranks) or abs(files) == abs(ranks)
        ):
            continue
        if promotes and min(origin % 9, destination % 9) > 2:
            continue
        if knight and not promotes and destination % 9 < 2:
            continue
        if way(origin, destination, promotes) == name:
            return True
    return False


PLACES = {
    name: [square for square in range(81) if reaches(name, square)] for name in FIRST
}


def label_of(move16: int, white: bool) -> int:
    destination, origin = move16 & 127, move16 >> 7 & 127
    if white:
        destination = 80 - destination
        origin = 80 - origin if origin < 81 else origin
    if origin >= 81:
        name = f"{DROPS[origin - 81]}*"
    else:
        name = way(origin, destination, bool(move16 >> 14 & 1))
    return FIRST[name] + PLACES[name].index(destination)


def seen(board: Any) -> Position:
    pieces, (own, other) = list(board.pieces), board.pieces_in_hand
    if board.turn == cshogi.WHITE:
        pieces = [piece and piece ^ 16 for piece in reversed(pieces)]
        own, other = other, own
    ids = [
        piece and (OWN[piece] if piece < 16 else OWN[piece - 16] + 14)
        for piece in pieces
    ]
    by_rank = tuple(ids[9 * file + rank] for rank in range(9) for file in range(9))
    hands = (*own, *other)
    return Position(by_rank, hands)


Sums = dict[Position, dict[int, tuple[int, int]]]


def dictionary(rows: Rows) -> Sums:
    found: Sums = {}
    board = cshogi.Board()
    for row in rows:
        board.set_hcp(np.ascontiguousarray(row[:32]))
        _, move16, result = struct.unpack_from("<hHB", row.tobytes(), 32)
        white = board.turn == cshogi.WHITE
        points = 1 if result & 3 == 0 else 2 * int((result & 3 == 2) == white)
        moves = found.setdefault(seen(board), {})
        label = label_of(move16, white)
        count, wins = moves.get(label, (0, 0))
        moves[label] = (count + 1, wins + points)
    return found


def hcp_of(position: Position) -> bytes:
    """Code a position with cshogi, the side to move as black."""
    names = {ours: "PLNSBRGKPLNSBR"[theirs - 1] for theirs, ours in OWN.items()}
    ranks = []
    for rank in range(9):
        text = ""
        for file in reversed(range(9)):
            piece = position.board[9 * rank + file]
            if not piece:
                text += "1"
                continue
            kind = (piece - 1) % 14 + 1
            name = names[kind] if piece <= 14 else names[kind].lower()
            text += ("+" if kind >= 9 else "") + name
        ranks.append(text)
    hands = "".join(
        f"{count}{letter}"
        for letter, count in zip("PLNSGBRplnsgbr", position.hand, strict=True)
        if count
    )
    board = cshogi.Board(f"{'/'.join(ranks)} b {hands or '-'} 1")
    code = np.zeros(32, dtype=np.uint8)
    board.to_hcp(code)
    return code.tobytes()


def id_of(code: bytes) -> int:
    key = 0
    for word in struct.unpack("<4Q", code):
        value = ((key ^ word) + 0x9E3779B97F4A7C15) % WORD
        value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 % WORD
        value = (value ^ value >> 27) * 0x94D049BB133111EB % WORD
        key = value ^ value >> 31
    return key


@pytest.fixture(scope="module")
def rows(selfplay_rows: Rows) -> Rows:
    """A run of whole games and a run of others, 20,000 positions in all."""
    return np.concatenate([selfplay_rows[: ROWS // 2], selfplay_rows[-ROWS // 2 :]])


@pytest.fixture(scope="module")
def expected(rows: Rows) -> list[tuple[int, bytes, Position, list[tuple[int, ...]]]]:
    """The dictionary's rows in the order of their ids."""
    made = []
    for position, moves in dictionary(rows).items():
        code = hcp_of(position)
        listed = [(label, *sums) for label, sums in sorted(moves.items())]
        made.append((id_of(code), code, position, listed))
    return sorted(made)


def shards(rows: Rows, folder: Path, *flags: str) -> list[Any]:
    """Process two copies of the rows' halves; open what both sides hold."""
    source = folder / "in"
    source.mkdir()
    rows[:9000].tofile(source / "a.hcpe")
    rows[9000:].tofile(source / "b.hcpe")
    out = folder / "out"
    base = ["--input-path", str(source), "--output-dir", str(out), *flags]
    assert run(["pre-process", *base]) == 0
    packed = "--no-packed" not in flags
    return [open_preprocess_shard(path, packed) for path in sorted(out.glob("*/pre*"))]


@pytest.mark.parametrize("container", ["npy", "feather"])
def test_packed_rows_equal_the_dictionarys(
    rows: Rows, tmp_path: Path, container: str
) -> None:
    opened = shards(rows, tmp_path, "--output-format", container)
    halves = {"a": rows[:9000], "b": rows[9000:]}
    sides = [sorted(_packed(shard)) for shard in opened]
    wanted = [sorted(_coded(dictionary(half))) for half in halves.values()]
    assert sides in (wanted, wanted[::-1])
    for shard in opened:
        ids = [id_of(code) for code, _ in _packed(shard)]
        assert ids == sorted(ids)


def _coded(sums: Sums) -> list[tuple[bytes, list[tuple[int, ...]]]]:
    return [
        (hcp_of(position), [(label, *pair) for label, pair in sorted(moves.items())])
        for position, moves in sums.items()
    ]


def _packed(shard: Any) -> list[tuple[bytes, list[tuple[int, ...]]]]:
    block = shard.read(0, shard.rows)
    moves = list(
        zip(
            block.labels.tolist(),
            block.counts.tolist(),
            block.wins.tolist(),
            strict=True,
        )
    )
    bounds = block.offsets.tolist()
    return [
        (code.tobytes(), moves[bounds[i] : bounds[i + 1]])
        for i, code in enumerate(block.codes)
    ]


def test_all_rows_in_one_side_equal_the_dictionarys(
    rows: Rows,
    expected: list[tuple[int, bytes, Position, list[tuple[int, ...]]]],
    tmp_path: Path,
) -> None:
    """With one tiny shard held out, the other side is all 20,000 positions."""
    block = _training_side(rows, tmp_path, packed=True)
    assert _packed(block) == [(code, moves) for _, code, _, moves in expected]


def test_dense_rows_equal_the_dictionarys(
    rows: Rows,
    expected: list[tuple[int, bytes, Position, list[tuple[int, ...]]]],
    tmp_path: Path,
) -> None:
    shard = _training_side(rows, tmp_path, packed=False)
    assert shard.rows == len(expected)
    for start in range(0, shard.rows, 1000):
        stop = min(start + 1000, shard.rows)
        wanted = np.zeros(stop - start, dtype=shard.read(0, 1).dtype)
        for row, (number, _, position, moves) in zip(
            wanted, expected[start:stop], strict=True
        ):
            row["id"] = number
            row["boardIdPositions"] = np.reshape(position.board, (9, 9))
            row["piecesInHand"] = position.hand
            total = sum(count for _, count, _ in moves)
            row["count"] = total
            row["resultValue"] = sum(wins for _, _, wins in moves) / (2 * total)
            for label, count, wins in moves:
                row["moveLabel"][label] = count / total
                row["moveWinRate"][label] = wins / (2 * count)
        same = shard.read(start, stop).tobytes() == wanted.tobytes()
        assert same, f"rows {start} to {stop}"


def _training_side(rows: Rows, folder: Path, packed: bool) -> Any:
    """Process the rows beside a shard of one row, the side with the rows."""
    source, out = folder / "in", folder / "out"
    source.mkdir()
    rows.tofile(source / "all.hcpe")
    rows[:1].tofile(source / "one.hcpe")
    flags = ["--packed" if packed else "--no-packed"]
    base = ["--input-path", str(source), "--output-dir", str(out), *flags]
    assert run(["pre-process", *base]) == 0
    opened = [open_preprocess_shard(path, packed) for path in out.glob("*/pre*")]
    assert sorted(shard.rows == 1 for shard in opened) == [False, True]
    return max(opened, key=lambda shard: shard.rows)
