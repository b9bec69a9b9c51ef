"""Packed sfen values against cshogi's own coding, on every kind of position."""

from pathlib import Path

import cshogi
import numpy as np
import numpy.typing as npt

from maou.records.psv import PSV, PsvShard
from maou.shogi.hcp import BAD_COUNT, VALID, decode_hcp
from maou.shogi.packed_sfen import OTHER_MOVE, hcp_of_packed_sfen, move16_of_packed

Rows = npt.NDArray[np.uint8]

HCPE = cshogi.HuffmanCodedPosAndEval


def test_the_record_is_cshogis() -> None:
    assert cshogi.PackedSfenValue == PSV


def psv_by_cshogi(rows: Rows) -> npt.NDArray[np.void]:
    """Convert records as users of cshogi do."""
    board = cshogi.Board()
    values = np.zeros(len(rows), dtype=cshogi.PackedSfenValue)
    for value, record in zip(values, rows.view(HCPE)[:, 0], strict=True):
        board.set_hcp(np.ascontiguousarray(record["hcp"]))
        board.to_psfen(value["sfen"])
        value["score"] = record["eval"]
        value["move"] = cshogi.move16_to_psv(int(record["bestMove16"]))
        winner = {0: None, 1: cshogi.BLACK, 2: cshogi.WHITE}[int(record["gameResult"])]
        value["game_result"] = (
            0 if winner is None else 1 if winner == board.turn else -1
        )
    return values


def test_real_positions_come_back(selfplay_rows: Rows, tmp_path: Path) -> None:
    path = tmp_path / "shard.psv"
    psv_by_cshogi(selfplay_rows).tofile(path)
    shard = PsvShard(path)
    assert shard.rows == len(selfplay_rows)
    assert (shard.read(0, shard.rows)[:, :37] == selfplay_rows[:, :37]).all()


def test_positions_of_random_play_come_back() -> None:
    """Full hands, promoted pieces of every kind, both sides to move."""
    random = np.random.default_rng(5)
    board = cshogi.Board()
    packed, hcp, ours = (np.zeros(32, dtype=np.uint8) for _ in range(3))
    positions = 0
    for _ in range(60):
        board.reset()
        for _ in range(250):
            moves = list(board.legal_moves)
            if not moves:
                break
            for move in moves:
                move16 = cshogi.move16(move)
                assert move16_of_packed(cshogi.move16_to_psv(move16)) == move16
            board.to_psfen(packed)
            board.to_hcp(hcp)
            assert hcp_of_packed_sfen(packed, ours) == VALID
            assert (ours == hcp).all()
            positions += 1
            board.push(moves[random.integers(len(moves))])
    assert positions > 5000


def test_every_move_value_is_read_as_cshogi_reads_it() -> None:
    """What move16_to_psv makes; everything else is no move of that coding."""
    made = {}
    for to in range(81):
        for origin in range(81):
            for promotes in (0, 1):
                move16 = to | origin << 7 | promotes << 14
                made[cshogi.move16_to_psv(move16)] = move16
        for kind in range(7):
            move16 = to | (81 + kind) << 7
            made[cshogi.move16_to_psv(move16)] = move16
    assert len(made) == 81 * (162 + 7)
    for value in range(1 << 16):
        assert move16_of_packed(value) == made.get(value, OTHER_MOVE)


def test_a_handicap_position_has_no_hcp() -> None:
    board = cshogi.Board()
    packed, ours = np.zeros(32, dtype=np.uint8), np.zeros(32, dtype=np.uint8)
    for pieces in ("lnsgkgsn1/1r5b1", "lnsgkgsnl/7b1", "lnsgkgsnl/9", "1nsgkgsn1/9"):
        board.set_sfen(f"{pieces}/ppppppppp/9/9/9/PPPPPPPPP/1B5R1/LNSGKGSNL w - 1")
        board.to_psfen(packed)
        assert hcp_of_packed_sfen(packed, ours) == BAD_COUNT
        assert decode_hcp(ours[None])[2][0] == BAD_COUNT
