"""The split: by game, by a rule that plain Python can repeat, never empty."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from maou.errors import DataError
from maou.records.containers import open_hcpe_shard
from maou.records.shards import Shard
from maou.records.split import (
    Split,
    game_starts,
    split_by_game,
    split_by_row,
    split_by_shard,
    take_all,
)
from shard_files import CONTAINERS, write_raw

Rows = npt.NDArray[np.uint8]
WORD = 2**64
SALT = int.from_bytes(b"split", "big")


def splitmix(value: int) -> int:
    value = (value + 0x9E3779B97F4A7C15) % WORD
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 % WORD
    value = (value ^ value >> 27) * 0x94D049BB133111EB % WORD
    return value ^ value >> 31


def plain_key(*parts: int) -> int:
    key = 0
    for part in parts:
        key = splitmix(key ^ part)
    return key


def fnv1a(data: bytes) -> int:
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 % WORD
    return value


def plain_split(units: Sequence[int], ratio: float, seed: int) -> list[bool]:
    """Which rows are held out, from each row's unit."""
    hashes = [splitmix(unit ^ plain_key(SALT, seed)) for unit in units]
    threshold = int(ratio * WORD)
    if threshold <= min(hashes):
        threshold = min(hashes) + 1
    threshold = min(threshold, max(hashes))
    return [value < threshold for value in hashes]


def masks(split: Split) -> list[bool]:
    return [
        bool(held)
        for number, rows in enumerate(split.rows)
        for held in split.mask(number, 0, rows)
    ]


def write_shards(
    folder: Path, rows: Rows, ids: Sequence[str], plan: Sequence[tuple[str, int]]
) -> tuple[Shard, ...]:
    """Write consecutive rows as shards of the planned containers and sizes."""
    shards, at = [], 0
    for number, (name, count) in enumerate(plan):
        container = CONTAINERS[name]
        path = folder / f"{number:02}{container.suffix}"
        part = slice(at, at + count)
        container.write(path, rows[part], ids[part], (count // 3, count // 2))
        shards.append(open_hcpe_shard(path))
        at += count
    return tuple(shards)


WITH_IDS = sorted(name for name in CONTAINERS if CONTAINERS[name].has_ids)
WITHOUT_IDS = sorted(set(CONTAINERS) - set(WITH_IDS))
RATIOS = st.one_of(
    st.floats(1e-9, 1 - 1e-9), st.sampled_from([1e-300, 0.2, 0.5, 1 - 2**-53])
)
SEEDS = st.integers(0, 2**63 - 1)


@given(
    plan=st.lists(
        st.tuples(st.sampled_from(WITH_IDS), st.integers(1, 40)), min_size=1, max_size=4
    ),
    games=st.lists(st.sampled_from("ABCDEFGH対"), min_size=160, max_size=160),
    ratio=RATIOS,
    seed=SEEDS,
)
def test_games_with_ids_are_split_as_plain_python_does(
    plan: list[tuple[str, int]],
    games: list[str],
    ratio: float,
    seed: int,
    distinct_rows: Rows,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    total = sum(count for _, count in plan)
    used = games[:total]
    assume(len(set(used)) > 1)
    ids = [f"{game}-{ply}" for ply, game in enumerate(used)]
    folder = tmp_path_factory.getbasetemp()
    shards = write_shards(folder, distinct_rows, ids, plan)
    split = split_by_game(shards, ratio, seed)
    held = masks(split)
    assert held == plain_split([fnv1a(game.encode()) for game in used], ratio, seed)
    sides = {
        game: {side for g, side in zip(used, held, strict=True) if g == game}
        for game in set(used)
    }
    assert all(len(side) == 1 for side in sides.values()), "a game on both sides"
    assert 0 < split.validation_rows < total
    assert split.validation_rows == sum(held)
    assert split.training_rows == total - sum(held)
    assert split.unit == "game"
    assert not split.warning


@given(
    plan=st.lists(
        st.tuples(st.sampled_from(WITHOUT_IDS), st.integers(1, 40)),
        min_size=2,
        max_size=6,
    ),
    ratio=RATIOS,
    seed=SEEDS,
)
def test_shards_without_ids_are_split_whole_by_what_they_hold(
    plan: list[tuple[str, int]],
    ratio: float,
    seed: int,
    distinct_rows: Rows,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.getbasetemp()
    shards = write_shards(folder, distinct_rows, [], plan)
    split = split_by_game(shards, ratio, seed)
    units, at = [], 0
    for _, count in plan:
        part = distinct_rows[at : at + count]
        ends = part[0].tobytes() + part[-1].tobytes()
        words = np.frombuffer(ends + bytes(4), dtype="<u8").tolist()
        units += [plain_key(count, *words)] * count
        at += count
    assert masks(split) == plain_split(units, ratio, seed)
    assert split.unit == "shard"


def test_a_renamed_or_moved_shard_stays_on_its_side(
    distinct_rows: Rows, tmp_path: Path
) -> None:
    parts = [distinct_rows[i * 50 : i * 50 + 50] for i in range(20)]
    for number, part in enumerate(parts):
        write_raw(tmp_path / f"{number:02}.hcpe", part)
    before = [open_hcpe_shard(path) for path in sorted(tmp_path.iterdir())]
    sides = [
        bool(split_by_game(tuple(before), 0.3, 1).mask(i, 0, 1)[0]) for i in range(20)
    ]
    assert len(set(sides)) == 2
    for number, part in enumerate(reversed(parts)):
        write_raw(tmp_path / f"{number:02}.hcpe", part)
    after = tuple(open_hcpe_shard(path) for path in sorted(tmp_path.iterdir()))
    split = split_by_game(after, 0.3, 1)
    assert [bool(split.mask(19 - i, 0, 1)[0]) for i in range(20)] == sides


def test_raw_and_rich_shards_of_the_same_games_agree_where_ids_do(
    distinct_rows: Rows, tmp_path: Path
) -> None:
    """The same ids give the same side whatever container holds them."""
    ids = [f"game-{i // 30}_{i % 30}" for i in range(3000)]
    seen = set()
    for name in WITH_IDS:
        folder = tmp_path / name.replace(" ", "-")
        folder.mkdir()
        shards = write_shards(folder, distinct_rows, ids, [(name, 3000)])
        seen.add(tuple(masks(split_by_game(shards, 0.25, 9))))
    assert len(seen) == 1


@pytest.mark.parametrize(
    "plan", [[("raw", 30)], [("npy text ids", 30)], [("raw", 5), ("npy raw", 5)]]
)
def test_a_single_unit_cannot_be_split(
    plan: list[tuple[str, int]], distinct_rows: Rows, tmp_path: Path
) -> None:
    rows = np.repeat(distinct_rows[:1], 30, axis=0)
    shards = write_shards(tmp_path, rows, ["only_1"] * 30, plan)
    with pytest.raises(DataError, match="all rows belong to one game") as caught:
        split_by_game(shards, 0.2, 0)
    assert str(shards[0].path) in str(caught.value)


def test_two_games_are_always_one_on_each_side(
    distinct_rows: Rows, tmp_path: Path
) -> None:
    ids = ["a_1", "b_1", "b_2"]
    shards = write_shards(tmp_path, distinct_rows, ids, [("npy text ids", 3)])
    for ratio in (1e-12, 0.5, 1 - 1e-12):
        held = {tuple(masks(split_by_game(shards, ratio, seed))) for seed in range(20)}
        assert held == {(True, False, False), (False, True, True)}


def test_the_share_held_out_is_near_the_ratio_and_grows_with_it(
    selfplay_rows: Rows, tmp_path: Path
) -> None:
    """4,000 games of one row: five standard deviations, and nested sides."""
    ids = [f"g{i}_0" for i in range(4000)]
    shards = write_shards(tmp_path, selfplay_rows, ids, [("npy bytes ids", 4000)])
    before = np.zeros(4000, dtype=np.bool_)
    for ratio in (0.05, 0.2, 0.5, 0.9):
        held = np.array(masks(split_by_game(shards, ratio, 3)))
        deviation = np.sqrt(ratio * (1 - ratio) / 4000)
        assert abs(held.mean() - ratio) < 5 * deviation
        assert (held >= before).all(), "a larger ratio only adds games"
        before = held
    other = np.array(masks(split_by_game(shards, 0.5, 4)))
    same = (other == np.array(masks(split_by_game(shards, 0.5, 3)))).mean()
    assert 0.4 < same < 0.6, "another seed is another split"


@given(st.integers(1, 50), st.data())
def test_a_mask_is_the_same_in_pieces(rows: int, data: st.DataObject) -> None:
    bits = np.array(data.draw(st.lists(st.booleans(), min_size=rows, max_size=rows)))
    split = Split((np.packbits(bits, bitorder="little"),), (rows,), "game")
    start, stop = sorted(data.draw(st.tuples(*[st.integers(0, rows)] * 2)))
    assert split.mask(0, start, stop).tolist() == bits[start:stop].tolist()
    assert split.validation_rows == bits.sum()


def test_take_all_holds_nothing_out(distinct_rows: Rows, tmp_path: Path) -> None:
    shards = write_shards(tmp_path, distinct_rows, [], [("raw", 9), ("npy raw", 20)])
    split = take_all(shards)
    assert split.training_rows == 29
    assert split.validation_rows == 0
    assert not any(masks(split))


def true_starts(games: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.cumsum(games) - games


def test_games_are_recovered_from_raw_rows(
    selfplay_rows: Rows, selfplay_games: npt.NDArray[np.int64]
) -> None:
    """Every true boundary of 500 games is found.

    A few extra ones are allowed right after a start: records leave out the random
    opening moves, so the first few rows of a game can be many plies apart.
    """
    found = np.flatnonzero(game_starts(selfplay_rows))
    true = true_starts(selfplay_games)
    assert set(true.tolist()) <= set(found.tolist())
    extra = np.setdiff1d(found, true)
    assert len(extra) <= 5
    for row in extra:
        assert row - true[true < row].max() <= 4


def test_a_single_raw_file_is_split_between_games(
    selfplay_path: Path, selfplay_games: npt.NDArray[np.int64]
) -> None:
    """No recovered game is on both sides; read in pieces, as large files are."""
    shard = open_hcpe_shard(selfplay_path)
    split = split_by_game((shard,), 0.2, 0)
    held = split.mask(0, 0, shard.rows)
    changes = np.flatnonzero(held[1:] != held[:-1]) + 1
    starts = np.flatnonzero(game_starts(shard.read(0, shard.rows)))
    assert set(changes.tolist()) <= set(starts.tolist())
    assert split.unit == "run"
    assert not split.warning
    assert abs(held.mean() - 0.2) < 0.1
    whole = [
        held[a:b].all() or not held[a:b].any()
        for a, b in itertools.pairwise([*true_starts(selfplay_games), shard.rows])
    ]
    assert np.mean(whole) > 0.99


def test_games_are_recovered_across_the_pieces_in_which_a_file_is_read(
    selfplay_rows: Rows, tmp_path: Path
) -> None:
    """277,185 rows are more than the 2**18 that are looked at together."""
    rows = np.tile(selfplay_rows, (5, 1))
    path = tmp_path / "large.hcpe"
    write_raw(path, rows)
    split = split_by_game((open_hcpe_shard(path),), 0.3, 2)
    numbers = np.cumsum(game_starts(rows)).tolist()
    hashed = plain_split(list(range(1, numbers[-1] + 1)), 0.3, 2)
    expected = np.array(hashed)[np.array(numbers) - 1]
    assert (split.mask(0, 0, len(rows)) == expected).all()


def test_shuffled_rows_are_reported(selfplay_rows: Rows, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).permutation(selfplay_rows[:5000])
    path = tmp_path / "shuffled.hcpe"
    write_raw(path, rows)
    split = split_by_game((open_hcpe_shard(path),), 0.2, 0)
    assert str(path) in split.warning
    assert "not in game order" in split.warning
    assert 0 < split.validation_rows < 5000


def test_a_game_starts_where_the_result_changes(selfplay_rows: Rows) -> None:
    rows = np.repeat(selfplay_rows[:1], 6, axis=0)
    rows[:, 36] = [1, 1, 2, 2 | 4, 0, 0]  # higher bits are flags
    assert game_starts(rows).tolist() == [True, False, True, False, True, False]


class _Plain(NamedTuple):
    """What a split by row or shard must know of a file."""

    path: Path
    rows: int


@pytest.mark.parametrize("ratio", [1e-9, 0.3, 1 - 1e-9])
def test_rows_are_chosen_by_their_keys_whatever_the_shards(ratio: float) -> None:
    keys = np.random.default_rng(0).integers(0, 2**63, 1000).astype(np.uint64)
    held_out = []
    for cuts in ([1000], [1, 7, 992], [500, 500]):
        parts = np.split(keys, np.cumsum(cuts)[:-1])
        shards = [_Plain(Path(f"{i}"), len(part)) for i, part in enumerate(parts)]

        def pieces(
            shard: int, parts: list[npt.NDArray[np.uint64]] = parts
        ) -> Iterator[npt.NDArray[np.uint64]]:
            for start in range(0, len(parts[shard]), 301):  # no whole bytes of marks
                yield parts[shard][start : start + 301]

        split = split_by_row(shards, pieces, ratio, 4)
        masks = [split.mask(i, 0, shard.rows) for i, shard in enumerate(shards)]
        held_out.append(np.concatenate(masks))
    assert all(np.array_equal(mask, held_out[0]) for mask in held_out)
    count = int(held_out[0].sum())
    assert count in {1, 999} if not 0.1 < ratio < 0.9 else 250 < count < 350


def test_one_key_or_one_hash_cannot_be_split() -> None:
    shards = [_Plain(Path("a"), 3), _Plain(Path("b"), 3)]
    same = np.zeros(3, dtype=np.uint64)
    with pytest.raises(DataError, match="a: all rows have one id"):
        split_by_row(shards, lambda _: iter((same,)), 0.5, 0)
    with pytest.raises(DataError, match="a: the shards all hold the same"):
        split_by_shard(shards, [5, 5], 0.5)
    for ratio in (1e-9, 0.5, 1 - 1e-9):
        split = split_by_shard(shards, [2**63 - 1, 2**63 + 1], ratio)
        assert [split.mask(i, 0, 3).all() for i in (0, 1)] == [True, False]
