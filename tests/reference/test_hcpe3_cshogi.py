"""hcpe3 games against cshogi: real games, written with dlshogi's layouts."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cshogi
import numpy as np
import numpy.typing as npt
import pytest
from cshogi import CSA

from maou.records.hcpe3 import Hcpe3Shard

GAMES = Path(__file__).parents[1] / "data" / "games"

# As in dlshogi/data_loader.py.
HEADER = np.dtype(
    [
        ("hcp", cshogi.dtypeHcp),
        ("moveNum", np.uint16),
        ("result", np.uint8),
        ("opponent", np.uint8),
    ]
)
MOVE = np.dtype(
    [
        ("selectedMove16", cshogi.dtypeMove16),
        ("eval", cshogi.dtypeEval),
        ("candidateNum", np.uint16),
    ]
)
VISITS = np.dtype([("move16", cshogi.dtypeMove16), ("visitNum", np.uint16)])


def parsed_games() -> Iterator[CSA.Parser]:
    for path in sorted(GAMES.glob("*.csa")):
        yield from CSA.Parser.parse_str(path.read_text("utf-8-sig"))


class Written(NamedTuple):
    path: Path
    rows: npt.NDArray[np.void]
    games: npt.NDArray[np.int64]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """Real games as hcpe3, and the hcpe records that cshogi makes of them."""
    path = tmp_path_factory.mktemp("hcpe3") / "games.hcpe3"
    board = cshogi.Board()
    records, owners = [], []
    with path.open("wb") as stream:
        for number, game in enumerate(parsed_games()):
            board.set_sfen(game.sfen)
            header = np.zeros(1, dtype=HEADER)
            board.to_hcp(header["hcp"][0])
            flags = (0, 0x4, 0x8, 0x10)[number % 4]
            header["moveNum"], header["result"] = len(game.moves), game.win | flags
            header["opponent"] = number % 3
            header.tofile(stream)
            for ply, move in enumerate(game.moves):
                legal = list(board.legal_moves)
                count = 0 if (ply + number) % 5 == 0 else min(len(legal), ply % 7 + 1)
                score = (37 * ply + number) % 4001 - 2000
                said = np.zeros(1, dtype=MOVE)
                said["selectedMove16"], said["eval"] = cshogi.move16(move), score
                said["candidateNum"] = count
                said.tofile(stream)
                visits = np.zeros(count, dtype=VISITS)
                visits["move16"] = [cshogi.move16(one) for one in legal[:count]]
                visits["visitNum"] = np.arange(count) + 1
                visits.tofile(stream)
                if count:
                    record = np.zeros(1, dtype=cshogi.HuffmanCodedPosAndEval)
                    board.to_hcp(record["hcp"][0])
                    record["eval"], record["gameResult"] = score, game.win
                    record["bestMove16"] = cshogi.move16(move)
                    records.append(record)
                    owners.append(number)
                board.push(move)
    return Written(path, np.concatenate(records), np.array(owners))


def test_every_row_is_cshogis(written: Written) -> None:
    shard = Hcpe3Shard(written.path)
    assert shard.rows == len(written.rows) > 1000
    made = shard.read(0, shard.rows)
    expected = written.rows.view(np.uint8).reshape(-1, 38)
    assert (made == expected).all()


def test_rows_know_their_game(written: Written) -> None:
    shard = Hcpe3Shard(written.path)
    keys = shard.game_keys(0, shard.rows)
    _, first, owner = np.unique(keys, return_index=True, return_inverse=True)
    assert len(first) == len(np.unique(written.games)) == 16
    assert (written.games[first][owner] == written.games).all()
