"""`maou utility check-data` as a user runs it, on rows with planted faults."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from maou.checking import run as checking
from maou.checking.run import quick_check
from maou.cli.main import run
from maou.shogi.hcp import decode_hcp, encode_hcp
from maou.sources.local import open_local_shards
from shard_files import table_of, write_feather, write_npy_text

Rows = npt.NDArray[np.uint8]


def check(path: Path, *flags: str) -> int:
    return run(["utility", "check-data", str(path), "--workers", "0", *flags])


def report_of(
    capsys: pytest.CaptureFixture[str], path: Path, *flags: str
) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = check(path, "--json", "-", *flags)
    return code, json.loads(capsys.readouterr().out)


def written(path: Path, rows: Rows) -> Path:
    path.write_bytes(np.ascontiguousarray(rows).tobytes())
    return path


def with_move(row: Rows, move16: int) -> Rows:
    changed = row.copy()
    changed[34:36] = move16 & 255, move16 >> 8
    return changed


def with_two_pawns(row: Rows) -> Rows:
    """Take a pawn of the side to move to a file that has one already."""
    board, hand, _ = decode_hcp(row[None])
    squares = board[0].reshape(9, 9)
    pawns = np.argwhere(squares == 1)
    free = [
        (rank, file)
        for rank in range(3, 6)
        for _, file in pawns[1:]
        if squares[rank, file] == 0
    ]
    squares[tuple(pawns[0])] = 0
    squares[free[0]] = 1
    changed = row.copy()
    codes, status = encode_hcp(board, hand)
    assert not status.any()
    changed[:32] = codes[0]
    return changed


@pytest.fixture
def planted(tmp_path: Path, selfplay_rows: Rows) -> Path:
    """300 rows: 3 damaged, 1 impossible, 4 with illegal moves, 5 there twice."""
    rows = selfplay_rows[:300].copy()
    assert rows[10, 0] & 1 == 0  # black to move, in the first moves of a game
    rows[4, 1:32] = 255
    rows[7, 36] = 3
    rows[9, 0:2] = 0  # both kings on 1a
    rows[10] = with_move(rows[10], 0)
    rows[12] = with_move(rows[12], 81 << 7 | 40)  # a pawn that is not in hand
    rows[14] = with_move(rows[14], 0x7FFF)
    rows[16] = with_move(rows[16], 40 << 7 | 39)  # from an empty square
    rows[20] = with_two_pawns(rows[20])
    rows[295:300] = rows[100:105]
    return written(tmp_path / "planted.hcpe", rows)


def test_clean_rows_pass(
    capsys: pytest.CaptureFixture[str], selfplay_path: Path, selfplay_rows: Rows
) -> None:
    code, report = report_of(capsys, selfplay_path)
    assert code == 0
    assert report["rows"] == report["looked_at"] == 55437
    assert all(fault["rows"] == 0 for fault in report["faults"].values())
    assert report["examples"] == report["findings"] == []
    unique = len(np.unique(selfplay_rows[:, :37], axis=0))
    assert report["duplicates"]["rows"] == 55437 - unique
    board, hand, _ = decode_hcp(selfplay_rows)
    positions, counts = np.unique(np.hstack([board, hand]), axis=0, return_counts=True)
    assert report["duplicates"]["positions"] == 55437 - len(positions)
    assert report["duplicates"]["commonest_position"] == counts.max()
    results = report["results"]
    for number, name in enumerate(("drawn", "black_won", "white_won")):
        assert results[name] == np.count_nonzero(selfplay_rows[:, 36] == number)
    turn = selfplay_rows[:, 0] & 1
    assert results["mover_won"] == np.count_nonzero(selfplay_rows[:, 36] == turn + 1)
    assert report["scale"]["seen_from"] == "side to move"
    assert 400 < report["scale"]["fitted"] < 1200
    assert report["games"]["ids"] == "missing"
    assert abs(report["games"]["games"] - 500) < 5


def test_planted_faults_are_found_and_named(
    capsys: pytest.CaptureFixture[str], planted: Path
) -> None:
    code, report = report_of(capsys, planted)
    assert code == 1
    faults = report["faults"]
    assert faults["damaged"]["rows"] == 3
    assert sum(faults["damaged"]["kinds"].values()) == 3
    assert faults["impossible"]["rows"] == 1
    assert faults["impossible"]["kinds"]["two pawns of one side on a file"] == 1
    assert faults["illegal"]["kinds"].pop("no own piece on the origin square") >= 1
    assert report["empty_targets"] == 1
    named = {(one["fault"], one["row"]) for one in report["examples"]}
    assert {("damaged", row) for row in (4, 7, 9)} <= named
    assert ("impossible", 20) in named
    illegal = {row for fault, row in named if fault == "illegal"}
    assert {10, 12, 14, 16} <= illegal <= {10, 12, 14, 16, 20}
    assert faults["illegal"]["rows"] == len(illegal)
    assert all(one["file"] == "planted.hcpe" for one in report["examples"])
    drop = next(one for one in report["examples"] if one["row"] == 12)
    assert drop["move"] == "P*5e"
    assert drop["kind"] == "drops a piece that is not in hand"
    assert drop["sfen"].split()[1] in "bw"
    assert report["duplicates"]["rows"] == 5
    assert sum(one["serious"] for one in report["findings"]) == 3


def test_the_tables_say_the_same(
    capsys: pytest.CaptureFixture[str], planted: Path, tmp_path: Path
) -> None:
    assert check(planted, "--examples", "1", "--json", str(tmp_path / "r.json")) == 1
    said = capsys.readouterr().out
    assert "planted.hcpe: row 4: damaged" in said
    assert "row 7: damaged" not in said
    assert "best move none" in said
    report = json.loads((tmp_path / "r.json").read_text())
    assert len(report["examples"]) == 3
    for finding in report["findings"]:
        assert finding["text"] in said


def test_the_report_does_not_depend_on_workers_or_containers(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, selfplay_rows: Rows
) -> None:
    rows = selfplay_rows[:4000].copy()
    rows[::97, 34:36] = 0
    ids = [f"game{row // 100}_{row % 100}" for row in range(4000)]
    reports = []
    for name in ("npy", "feather"):
        folder = tmp_path / name
        folder.mkdir()
        for file, part in (("a", slice(0, 2500)), ("b", slice(2500, 4000))):
            path = folder / f"{file}.{name}"
            if name == "npy":
                write_npy_text(path, rows[part], ids[part])
            else:
                write_feather(path, table_of(rows[part], ids[part]), cuts=[700])
        for workers in ("0", "2") if name == "npy" else ("0",):
            code, report = report_of(capsys, folder, "--workers", workers)
            assert code == 1
            del report["path"]
            text = json.dumps(report).replace(f".{name}", "")
            reports.append(text)
    assert len(set(reports)) == 1
    games = json.loads(reports[0])["games"]
    assert games == {
        "ids": "present",
        "games": 40,
        "rows_per_game": 100.0,
        "longest": 100,
    }


def test_the_report_does_not_depend_on_the_pieces(
    capsys: pytest.CaptureFixture[str], planted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, whole = report_of(capsys, planted, "--examples", "2")
    for rows in (1, 7, 64):
        monkeypatch.setattr(checking, "_TASK_ROWS", rows)
        assert report_of(capsys, planted, "--examples", "2") == (1, whole)


def test_evaluations_that_are_missing_or_seen_from_black(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, selfplay_rows: Rows
) -> None:
    rows = selfplay_rows[:20_000].copy()
    evals = rows[:, 32:34].copy().view("<i2")[:, 0]
    white = rows[:, 0] & 1 == 1
    turned = np.where(white, -np.clip(evals, -30_000, 30_000), evals).astype("<i2")
    rows[:, 32:34] = turned[:, None].view(np.uint8)
    code, report = report_of(capsys, written(tmp_path / "black.hcpe", rows))
    assert code == 0
    assert report["scale"]["seen_from"] == "black"
    assert "seen from black" in report["findings"][0]["text"]
    rows[:, 32:34] = 0
    code, report = report_of(capsys, written(tmp_path / "zero.hcpe", rows))
    assert code == 0
    assert report["evals"]["zero"] == 20_000
    assert report["scale"]["fitted"] is None
    assert "missing" in report["findings"][0]["text"]


def test_no_bytes_stop_the_check(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, selfplay_rows: Rows
) -> None:
    rng = np.random.default_rng(3)
    noise = rng.integers(0, 256, (3000, 38), dtype=np.uint8)
    flipped = selfplay_rows[:20_000].copy()
    at = rng.integers(0, 37, len(flipped))
    bits = np.uint8(1) << rng.integers(0, 8, len(flipped), dtype=np.uint8)
    flipped[np.arange(len(flipped)), at] ^= bits
    for rows in (noise, flipped, np.zeros((5, 38), np.uint8), noise[:1]):
        code, report = report_of(capsys, written(tmp_path / "noise.hcpe", rows))
        assert code == 1
        good = len(rows) - report["faults"]["damaged"]["rows"]
        results = report["results"]
        decided = results["black_won"] + results["white_won"] + results["drawn"]
        assert decided == good
        assert quick_check(open_local_shards(tmp_path / "noise.hcpe").shards)


def test_no_room_for_the_keys(
    capsys: pytest.CaptureFixture[str], planted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(planted))  # a file: no folder
    assert check(planted) == 2
    assert "TMPDIR" in capsys.readouterr().err


def test_a_sample(capsys: pytest.CaptureFixture[str], selfplay_path: Path) -> None:
    code, report = report_of(capsys, selfplay_path, "--sample-rows", "5000")
    assert code == 0
    assert report["rows"] == 55437
    assert report["looked_at"] == 5120


def test_rows_that_cannot_be_read_do_not_stop_the_check(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, selfplay_rows: Rows
) -> None:
    table = table_of(selfplay_rows[:50], [f"g_{i}" for i in range(50)])
    at = table.schema.get_field_index("eval")
    column = pa.array([None, *range(49)], type=pa.int16())
    table = table.set_column(at, "eval", column)
    path = tmp_path / "null.feather"
    write_feather(path, table)
    code, report = report_of(capsys, path)
    assert code == 1
    assert report["faults"]["damaged"]["rows"] == 50
    assert "eval is missing" in report["examples"][0]["kind"]


@pytest.mark.parametrize("content", [b"", b"x" * 39])
def test_input_that_is_none(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "bad.hcpe"
    path.write_bytes(content)
    assert check(path) == 2
    assert "bad.hcpe" in capsys.readouterr().err
    assert check(tmp_path / "nowhere") == 2
    assert "no such file" in capsys.readouterr().err
    assert run(["utility", "check-data"]) == 2


def test_the_quick_check_warns_in_words(
    planted: Path, selfplay_path: Path, tmp_path: Path, selfplay_rows: Rows
) -> None:
    assert quick_check(open_local_shards(selfplay_path).shards) == []
    said = quick_check(open_local_shards(planted).shards)
    assert len(said) == 3
    assert any(text.startswith("illegal best moves: ") for text in said)
    assert all(str(planted) in text for text in said)
    rows = np.tile(selfplay_rows[:50_000], (4, 1))
    rows[:, 34:36] = 0
    shards = open_local_shards(written(tmp_path / "long.hcpe", rows)).shards
    begin = time.monotonic()
    (text,) = quick_check(shards)
    assert time.monotonic() - begin < 5  # 0.1 s; the rest is for a busy machine
    assert "of 20,480 rows (100.00%)" in text
    assert "maou utility check-data" in text
