"""hcpe3 shards: any range of any games, and the games that rows belong to."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from game_shards import Game, expected_rows, hcpe3_bytes, random_games
from maou.records import hcpe3
from maou.records.containers import HCPE_CONTAINERS, open_hcpe_shard
from maou.records.hcpe3 import Hcpe3Shard
from maou.records.split import split_by_game

GAMES = [
    *random_games(30, 25, 1),
    Game(random_games(1, 0, 0)[0].start, 0, []),
    *(game._replace(result=2) for game in random_games(2, 60, 2)),
]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("hcpe3") / "games.HCPE3"
    made.write_bytes(hcpe3_bytes(GAMES))
    return made


ROWS, OWNERS = expected_rows(GAMES)


def test_the_shard_is_opened_by_its_suffix(path: Path) -> None:
    shard = open_hcpe_shard(path)
    assert type(shard) is HCPE_CONTAINERS[".hcpe3"]
    assert shard.rows == len(ROWS)
    assert shard.has_ids
    assert (shard.read(0, shard.rows) == ROWS).all()


@given(
    bounds=st.tuples(st.integers(0, len(ROWS)), st.integers(0, len(ROWS))),
    piece=st.sampled_from([40, 100, 1000, 1 << 22]),
)
@settings(max_examples=200)
def test_any_range_in_pieces_of_any_size(
    bounds: tuple[int, int], piece: int, path: Path
) -> None:
    """A game, a header or a move may end with a piece or go on in the next."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hcpe3, "_PIECE", piece)
        shard = Hcpe3Shard(path)
        start, stop = sorted(bounds)
        assert (shard.read(start, stop) == ROWS[start:stop]).all()
        keys = shard.game_keys(start, stop)
    whole = Hcpe3Shard(path)
    assert (keys == whole.game_keys(0, whole.rows)[start:stop]).all()


def test_rows_of_a_game_share_a_key_and_others_do_not(path: Path) -> None:
    shard = Hcpe3Shard(path)
    keys = shard.game_keys(0, shard.rows).tolist()
    assert len(set(keys)) == len(set(OWNERS))
    assert len(set(zip(keys, OWNERS, strict=True))) == len(set(OWNERS))


def test_a_game_in_two_files_is_on_one_side_of_the_split(
    path: Path, tmp_path: Path
) -> None:
    other = tmp_path / "again.hcpe3"
    other.write_bytes(hcpe3_bytes([*random_games(9, 20, 7), *GAMES[::-1]]))
    shards = (Hcpe3Shard(path), Hcpe3Shard(other))
    split = split_by_game(shards, 0.3, 5)
    assert split.unit == "game"
    sides: dict[int, set[bool]] = {}
    for number, shard in enumerate(shards):
        held = split.mask(number, 0, shard.rows).tolist()
        keys = shard.game_keys(0, shard.rows).tolist()
        for key, side in zip(keys, held, strict=True):
            sides.setdefault(key, set()).add(side)
    assert all(len(side) == 1 for side in sides.values())
    assert 0 < split.validation_rows < len(ROWS)


@pytest.mark.parametrize(
    "change",
    [
        lambda game: game._replace(result=game.result ^ 4),
        lambda game: game._replace(moves=game.moves[:-1]),
        lambda game: game._replace(moves=[(m, s + 1, c) for m, s, c in game.moves]),
    ],
)
def test_what_a_game_holds_makes_its_key(change: object, tmp_path: Path) -> None:
    assert callable(change)
    game = random_games(1, 30, 3)[0]
    file = tmp_path / "two.hcpe3"
    file.write_bytes(hcpe3_bytes([game, change(game)]))
    shard = Hcpe3Shard(file)
    assert len(np.unique(shard.game_keys(0, shard.rows))) == 2
