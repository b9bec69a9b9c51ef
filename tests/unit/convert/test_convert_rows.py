"""Rows of a game, filters, ids, and the shards that they make."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rsshogi.core import Move

from maou.convert.coding import coded_moves
from maou.convert.config import HcpeConvertConfig
from maou.convert.games import STANDARD_START, Game
from maou.convert.inputs import game_id
from maou.convert.rows import Filters, rows_of
from maou.convert.tasks import Outcome, Shard, write_shard
from maou.records.containers import open_hcpe_shard

SQUARES = [f"{file}{rank}" for file in "123456789" for rank in "abcdefghi"]


def filters(**values: Any) -> Filters:
    return Filters.of(
        HcpeConvertConfig(input_path=Path("in"), output_dir=Path("out"), **values)
    )


def game(usi: str, **changes: Any) -> Game:
    moves = coded_moves([Move.from_usi(text) for text in usi.split()])
    evals = np.array(changes.pop("evals", [0] * len(moves)), dtype=np.int32)
    values: dict[str, Any] = {
        "start": STANDARD_START,
        "moves": moves,
        "evals": evals,
        "result": 1,
        "status": "%TORYO",
        "date": None,
        "ratings": (0, 0),
    }
    return Game(**{**values, **changes})


def test_move16_of_every_move() -> None:
    moves = [
        Move.from_usi(a + b + sign)
        for a in SQUARES
        for b in SQUARES
        if a != b
        for sign in ("", "+")
    ] + [Move.from_usi(f"{piece}*{to}") for piece in "PLNSGBR" for to in SQUARES]
    assert coded_moves(moves).tolist() == [move.to_apery().value for move in moves]


def test_evaluations_turn_to_the_side_to_move() -> None:
    made = rows_of(
        game("7g7f 3c3d 2g2f 8c8d", evals=[57, 20, -32767, 32767]),
        filters(),
    )
    assert made.rows["eval"].tolist() == [57, -20, -32767, -32767]
    assert made.plies.tolist() == [1, 2, 3, 4]


def test_with_white_first_the_first_row_is_whites() -> None:
    start = STANDARD_START.replace(" b ", " w ")
    made = rows_of(game("3c3d 7g7f", start=start, evals=[5, 7]), filters())
    assert made.rows["eval"].tolist() == [-5, 7]


@pytest.mark.parametrize(
    ("excluded", "plies"),
    [(("2",), [1, 3, 4]), (("1-3",), [4]), (("2g2f",), [1, 2, 4]), (("1-4",), [])],
)
def test_excluded_positions(excluded: tuple[str, ...], plies: list[int]) -> None:
    kept = filters(exclude_moves=excluded)
    made = rows_of(game("7g7f 3c3d 2g2f 8c8d"), kept)
    assert made.plies.tolist() == plies
    whole = rows_of(game("7g7f 3c3d 2g2f 8c8d"), filters())
    at = [ply - 1 for ply in plies]
    assert made.rows.tobytes() == whole.rows[at].tobytes()


@pytest.mark.parametrize(
    ("values", "flag"),
    [
        ({"min_rating": 1001}, "--min-rating"),
        ({"min_rating": 1000}, ""),
        ({"min_moves": 3}, "--min-moves"),
        ({"max_moves": 1}, "--max-moves"),
        ({"min_moves": 2, "max_moves": 2}, ""),
        ({"allowed_endgame_status": ("%KACHI",)}, "--allowed-endgame-status"),
        ({"allowed_endgame_status": ("%KACHI", "%TORYO")}, ""),
    ],
)
def test_filters_name_their_flag(values: dict[str, Any], flag: str) -> None:
    assert filters(**values).drops(game("7g7f 3c3d", ratings=(2000, 1000))) == flag


def test_an_unknown_rating_is_below_any_minimum() -> None:
    kept = filters(min_rating=0)
    assert kept.drops(game("7g7f", ratings=(2000, 0))) == "--min-rating"
    assert kept.drops(game("7g7f", ratings=(2000, 1))) == ""


def test_game_ids_are_short_and_unique() -> None:
    assert game_id("a/b.csa", 12) == "a/b.csa:12"
    long = [game_id("x" * 60 + name, 1) for name in "ab"]
    odd = [game_id("~b.csa", 1), game_id("a\udcff.csa", 1), game_id("a\n.csa", 1)]
    assert len({*long, *odd}) == 5
    assert all(text.startswith("~") and len(text) <= 57 for text in long + odd)
    assert len(game_id("棋" * 18 + ".csa", 1).encode()) <= 57


@pytest.mark.parametrize("container", ["feather", "npy", "hcpe"])
def test_a_shard_reads_back(tmp_path: Path, container: str) -> None:
    parts = [
        rows_of(game("7g7f 3c3d", evals=[1, 2]), filters()),
        rows_of(game("2g2f 8c8d 2f2e"), filters(exclude_moves=("2",))),
    ]
    rows = np.concatenate([part.rows for part in parts])
    shard = Shard(
        tmp_path / f"hcpe-00000.{container}",
        container,
        [
            ("a.csa:1", Outcome(0, 2, date="2020-02-03", status="%TORYO", moves=2)),
            ("b.csa:7", Outcome(1, 2, date="2020-13-99", ratings=(9, 8), moves=3)),
        ],
        rows,
        np.concatenate([part.plies for part in parts]),
    )
    assert write_shard(shard) == shard.path.stat().st_size
    made = open_hcpe_shard(shard.path)
    assert made.rows == 4
    assert made.read(0, 4).tobytes() == rows.tobytes()
    if container == "hcpe":
        return
    keys = made.game_keys(0, 4)
    assert keys[0] == keys[1] != keys[2] == keys[3]
    assert rich_columns(shard.path) == {
        "id": ["a.csa:1_1", "a.csa:1_2", "b.csa:7_1", "b.csa:7_3"],
        "partitioningKey": ["2020-02-03", "2020-02-03", "None", "None"],
        "ratings": [[0, 0], [0, 0], [9, 8], [9, 8]],
        "endgameStatus": ["%TORYO", "%TORYO", "", ""],
        "moves": [2, 2, 3, 3],
    }


def rich_columns(path: Path) -> dict[str, list[Any]]:
    import pyarrow as pa

    names = ("id", "partitioningKey", "ratings", "endgameStatus", "moves")
    if path.suffix == ".npy":
        rows = np.load(path, allow_pickle=False)
        made = {name: rows[name].tolist() for name in names}
        for name in ("id", "endgameStatus"):
            made[name] = [text.decode() for text in made[name]]
    else:
        with pa.ipc.open_file(path) as reader:
            made = reader.read_all().select(names).to_pydict()
    made["partitioningKey"] = [str(day) for day in made["partitioningKey"]]
    return made
