"""Converted rows of real games equal what cshogi makes of them, bit for bit."""

from pathlib import Path

import cshogi
import numpy as np
import pytest
from cshogi import CSA

from maou.convert.config import HcpeConvertConfig
from maou.convert.games import Game, parse_games
from maou.convert.inputs import find_inputs, plan_tasks, read_games
from maou.convert.rows import Filters, rows_of
from maou.records.hcpe import HCPE

DATA = Path(__file__).parents[1] / "data"


def our_games(path: Path) -> list[Game]:
    inputs = find_inputs(path, "csa")
    return [
        game
        for task in plan_tasks(inputs, 1000)
        for piece in task
        for data in read_games(inputs.root, piece)
        for game in parse_games(data, "csa")
        if isinstance(game, Game)
    ]


def cshogi_rows(parser: CSA.Parser) -> np.ndarray:
    """Make the rows of a game with cshogi alone."""
    board = cshogi.Board(parser.sfen)
    rows = np.zeros(len(parser.moves), dtype=cshogi.HuffmanCodedPosAndEval)
    for row, move, score in zip(rows, parser.moves, parser.scores, strict=True):
        assert board.is_legal(move)
        board.to_hcp(row["hcp"])
        row["eval"] = score if board.turn == cshogi.BLACK else -score
        row["bestMove16"] = cshogi.move16(move)
        row["gameResult"] = parser.win
        board.push(move)
    return rows


@pytest.mark.parametrize(
    "name",
    [
        "selfplay.csa",
        "WCSC28_L1_KAK_CRZ.csa",
        "WCSC28_L2_HIM_NRK.csa",
        "WCSC28_L4_KIN_KTD.csa",
    ],
)
def test_rows_of_real_games(name: str) -> None:
    path = DATA / "games" / name
    text = path.read_text("utf-8-sig")  # cshogi refuses the byte-order mark
    kept = Filters.of(HcpeConvertConfig(input_path=path, output_dir=path))
    theirs = [
        rows
        for parser in CSA.Parser.parse_str(text)
        if parser.endgame != "%ILLEGAL_ACTION"  # names no side, so there is no result
        for rows in [cshogi_rows(parser)]
    ]
    ours = [rows_of(game, kept).rows for game in our_games(path)]
    assert len(ours) == len(theirs) > 0
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.dtype == HCPE
        assert mine.tobytes() == other.tobytes()


def test_kif_and_ki2_give_the_rows_of_csa() -> None:
    from rsshogi.record import Record

    path = DATA / "games" / "selfplay.csa"
    kept = Filters.of(HcpeConvertConfig(input_path=path, output_dir=path))
    texts = [
        data.decode()
        for task in plan_tasks(find_inputs(path, "csa"))
        for piece in task
        for data in read_games(path.parent, piece)
    ]
    games = our_games(path)
    records = [Record.from_csa_str(text) for text in texts]
    finished = [record for record in records if record.result.name != "PAUSED"]
    for game, record in zip(games, finished, strict=True):
        wanted = rows_of(game, kept).rows
        wanted["eval"] = 0  # these formats have no agreed form for evaluations
        for kind, text in (("kif", record.to_kif()), ("ki2", record.to_ki2())):
            for encoding in ("utf-8", "utf-8-sig", "cp932"):
                (made,) = parse_games(text.encode(encoding), kind)
                assert isinstance(made, Game)
                assert rows_of(made, kept).rows.tobytes() == wanted.tobytes()
                assert made.status == game.status
                assert made.date == game.date
