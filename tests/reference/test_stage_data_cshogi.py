"""Stage 1 and 2 data against cshogi's legal moves."""

import itertools

import cshogi
import numpy as np
import pytest

from maou.convert.config_stages import Stage2DataConfig
from maou.convert.stage1 import stage1_cases
from maou.convert.stage2 import Task, generate_stage2, legal_moves_of
from maou.errors import ConfigError, DataError
from maou.records.containers import open_hcpe_shard
from maou.records.stages import STAGE1, STAGE2, unpack_bits

# Own pieces 1..14 as sfen letters.
LETTERS = ("P", "L", "N", "S", "G", "B", "R", "K")
LETTERS += ("+P", "+L", "+N", "+S", "+B", "+R")


def _sfen(pieces: dict[int, str], hand: str = "-") -> str:
    """Write a position by square (9 * (file - 1) + rank - 1), black to move."""
    ranks = []
    for rank in range(9):
        cells = [pieces.get(9 * file + rank, "") for file in range(8, -1, -1)]
        text = ""
        for full, group in itertools.groupby(cells, key=bool):
            items = list(group)
            text += "".join(items) if full else str(len(items))
        ranks.append(text)
    return f"{'/'.join(ranks)} b {hand} 1"


def _reached_by_cshogi(letter: str, square: int) -> set[int]:
    """Collect where a piece goes over many places of the kings."""
    reached = set()
    places = [0, 8, 40, 72, 80, 20, 60, 38, 44]
    for own, other in itertools.permutations(places, 2):
        if letter == "K":
            own = square  # noqa: PLW2901
        pieces = {own: "K", other: "k", square: letter}
        near = max(abs(own // 9 - other // 9), abs(own % 9 - other % 9)) <= 1
        if len(pieces) < (2 if letter == "K" else 3) or near:
            continue
        board = cshogi.Board(_sfen(pieces))
        moves = [m for m in board.legal_moves if cshogi.move_from(m) == square]
        targets = {cshogi.move_to(move) for move in moves}
        if other not in targets:  # else the king could be taken: no position of a game
            reached |= targets
    return reached


def _squares(flags: np.ndarray) -> set[int]:
    """Turn flags by board index into squares."""
    return {9 * (int(i) % 9) + int(i) // 9 for i in np.flatnonzero(flags)}


def test_stage1_is_complete_and_equals_cshogi():
    cases = stage1_cases()
    assert cases.dtype == STAGE1
    assert len(cases) == 1105
    targets = unpack_bits(cases["reachableSquares"], 81)
    boards = cases["boardIdPositions"].reshape(-1, 81)
    seen = set()
    for board, hand, target in zip(boards, cases["piecesInHand"], targets, strict=True):
        (at,) = np.flatnonzero(board) if board.any() else (None,)
        if at is None:
            (kind,) = np.flatnonzero(hand)
            seen.add(("hand", int(kind)))
            king = cshogi.Board(_sfen({80: "K", 0: "k"}, hand="PLNSGBR"[kind]))
            drops = [m for m in king.legal_moves if cshogi.move_is_drop(m)]
            found = {cshogi.move_to(move) for move in drops}
            king = cshogi.Board(_sfen({76: "K", 4: "k"}, hand="PLNSGBR"[kind]))
            drops = [m for m in king.legal_moves if cshogi.move_is_drop(m)]
            assert _squares(target) == found | {cshogi.move_to(move) for move in drops}
            continue
        square = 9 * (int(at) % 9) + int(at) // 9
        piece = int(board[at])
        assert not hand.any()
        seen.add((piece, square))
        if piece in {8, 6, 7, 13, 14} and square % 4:  # sliders and kings: a sample
            continue
        assert _squares(target) == _reached_by_cshogi(LETTERS[piece - 1], square)
    assert len(seen) == 1105


def test_stage2_equals_cshogis_legal_moves(tmp_path, selfplay_rows):
    path = tmp_path / "rows.hcpe"
    path.write_bytes(selfplay_rows[:1500].tobytes())
    records = legal_moves_of(Task(path, 0, 1500))
    assert records.dtype == STAGE2
    flags = unpack_bits(records["legalMovesLabel"], 1496)
    board = cshogi.Board()
    from maou.shogi.samples import move_label

    for row, flag in zip(selfplay_rows[:1500], flags, strict=True):
        board.set_hcp(np.ascontiguousarray(row[:32]))
        expected = {
            move_label(cshogi.move16(move), board.turn) for move in board.legal_moves
        }
        assert set(np.flatnonzero(flag).tolist()) == expected


@pytest.fixture
def shards(tmp_path, selfplay_rows):
    paths = []
    for number in range(2):
        path = tmp_path / f"{number}.hcpe"
        path.write_bytes(selfplay_rows[number * 5000 : number * 5000 + 6000].tobytes())
        paths.append(open_hcpe_shard(path))
    return paths


@pytest.mark.parametrize("workers", [0, 2])
def test_stage2_shards_hold_each_position_once(tmp_path, shards, workers):
    out = tmp_path / "out"
    config = Stage2DataConfig(
        input_path=tmp_path, output_dir=out, shard_rows=4000, workers=workers
    )
    told: list[tuple[int, int]] = []
    result = generate_stage2(shards, config, lambda *done: told.append(done))
    assert told[-1] == (12000, 12000)
    assert result.read == 12000
    parts = [np.load(path, allow_pickle=False) for path in result.shards]
    assert [len(part) for part in parts[:-1]] == [4000] * (len(parts) - 1)
    records = np.concatenate(parts)
    boards = records["boardIdPositions"].reshape(-1, 81)
    keys = {
        board.tobytes() + hand.tobytes()
        for board, hand in zip(boards, records["piecesInHand"], strict=True)
    }
    assert len(keys) == len(records) == result.written < 11100
    with pytest.raises(ConfigError, match="holds stage 2 shards already"):
        generate_stage2(shards, config, lambda *_: None)


def test_stage2_names_a_damaged_row(tmp_path, selfplay_rows):
    rows = selfplay_rows[:100].copy()
    rows[17, :32] = 255
    path = tmp_path / "bad.hcpe"
    path.write_bytes(rows.tobytes())
    with pytest.raises(DataError, match=r"bad\.hcpe: row 17: "):
        legal_moves_of(Task(path, 0, 100))
