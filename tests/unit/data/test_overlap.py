"""Known validation positions are those that a Python set finds."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from maou.data.overlap import Overlap, count_known_positions
from maou.data.rows import SideRows, side_rows
from maou.errors import DataError
from maou.records.containers import open_hcpe_shard
from maou.records.split import split_by_game
from maou.shogi.hcp import decode_hcp, encode_hcp
from shard_files import CONTAINERS, write_raw

Rows = npt.NDArray[np.uint8]


def positions(side: SideRows) -> list[bytes]:
    rows = [side.read(side.block(number)) for number in range(len(side.bounds))]
    boards, hands, _ = decode_hcp(np.concatenate(rows))
    return [row.tobytes() for row in np.concatenate([boards, hands], axis=1)]


def check(training: SideRows, validation: SideRows) -> int:
    known = set(positions(training))
    held = positions(validation)
    expected = sum(position in known for position in held)
    found = count_known_positions(training, validation)
    assert found == Overlap(looked_at=len(held), known=expected)
    return expected


def test_openings_that_games_share_are_counted(selfplay_path: Path) -> None:
    """And a sample of the positions tells about the same share."""
    shards = (open_hcpe_shard(selfplay_path),)
    split = split_by_game(shards, 0.2, 0)
    training = side_rows(shards, split, validation=False)
    validation = side_rows(shards, split, validation=True)
    known = check(training, validation)
    assert known > 100
    for at_most in (5000, 1000):
        sample = count_known_positions(training, validation, at_most)
        assert 0.5 * at_most < sample.looked_at < 1.5 * at_most
        share = known / validation.count
        assert abs(sample.known / sample.looked_at - share) < 0.02


def test_a_sample_takes_all_rows_of_a_position_from_both_sides_or_none(
    selfplay_rows: Rows, tmp_path: Path
) -> None:
    rows = selfplay_rows[:3000]
    write_raw(tmp_path / "a.hcpe", rows)
    write_raw(tmp_path / "b.hcpe", rows[::-1])
    shards = tuple(open_hcpe_shard(tmp_path / name) for name in ("a.hcpe", "b.hcpe"))
    split = split_by_game(shards, 0.5, 0)
    training = side_rows(shards, split, validation=False)
    validation = side_rows(shards, split, validation=True)
    for at_most in (1, 50, 2000):
        sample = count_known_positions(training, validation, at_most)
        assert sample.known == sample.looked_at, "every position is known"


@given(
    picks=st.lists(st.integers(0, 30), min_size=2, max_size=300),
    game_rows=st.integers(1, 20),
    ratio=st.floats(0.05, 0.95),
)
def test_any_repetition_on_either_side(
    picks: list[int],
    game_rows: int,
    ratio: float,
    distinct_rows: Rows,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Few positions, often repeated, within a side and across."""
    rows = distinct_rows[picks]
    ids = [f"g{i // game_rows}_{i}" for i in range(len(rows))]
    path = tmp_path_factory.getbasetemp() / "overlap.npy"
    CONTAINERS["npy text ids"].write(path, rows, ids, ())
    shards = (open_hcpe_shard(path),)
    try:
        split = split_by_game(shards, ratio, 0)
    except DataError:
        assume(False)
    check(
        side_rows(shards, split, validation=False),
        side_rows(shards, split, validation=True),
    )


def test_equal_positions_of_either_colour_are_the_same(
    selfplay_rows: Rows, tmp_path: Path
) -> None:
    """Rotating the board and exchanging colours gives the same sample."""
    white = selfplay_rows[(selfplay_rows[:, 0] & 1) == 1][:200]
    boards, hands, _ = decode_hcp(white)
    black = white.copy()
    black[:, :32], _ = encode_hcp(boards, hands)
    write_raw(tmp_path / "a.hcpe", white)
    write_raw(tmp_path / "b.hcpe", black)
    shards = tuple(open_hcpe_shard(tmp_path / name) for name in ("a.hcpe", "b.hcpe"))
    split = split_by_game(shards, 0.5, 0)
    known = check(
        side_rows(shards, split, validation=False),
        side_rows(shards, split, validation=True),
    )
    assert known == 200
