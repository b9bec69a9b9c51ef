"""Every container gives back the rows that another tool wrote into it."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from maou.records.containers import HCPE_CONTAINERS, open_hcpe_shard
from maou.records.game_ids import keys_of_fixed_text
from shard_files import CONTAINERS, table_of, write_feather

Rows = npt.NDArray[np.uint8]
Folder = pytest.TempPathFactory


def raw_bytes(rows: Rows) -> Rows:
    """What a reader promises: the 37 bytes that mean something, padding zero or not."""
    return rows[:, :37]


@pytest.mark.parametrize("name", CONTAINERS)
def test_rows_and_ids_come_back(name: str, distinct_rows: Rows, tmp_path: Path) -> None:
    rows = distinct_rows[:3001]
    ids = [f"棋戦-{i // 40}_{i % 40}" for i in range(len(rows))]
    container = CONTAINERS[name]
    path = tmp_path / f"shard{container.suffix}"
    container.write(path, rows, ids, (1, 2, 1030, 1030, 1031, 3001))
    shard = open_hcpe_shard(path)
    assert type(shard) is HCPE_CONTAINERS[container.suffix]
    assert shard.path == path
    assert shard.rows == 3001
    assert shard.has_ids == container.has_ids
    assert (raw_bytes(shard.read(0, 3001)) == raw_bytes(rows)).all()
    if container.has_ids:
        expected = keys_of_fixed_text(np.array(ids))
        assert (shard.game_keys(0, 3001) == expected).all()
        assert len(np.unique(expected)) == 76
    assert "rows=3001" in repr(shard)


EDGES = st.sampled_from([0, 1024, 5000])


@given(
    name=st.sampled_from(sorted(CONTAINERS)),
    count=st.integers(1, 400),
    cuts=st.lists(st.integers(0, 400), max_size=5),
    bounds=st.tuples(st.integers(0, 400), st.integers(0, 400)),
)
@example(name="feather binary", count=9, cuts=[0, 4, 4, 9], bounds=(0, 9))
@example(name="feather list", count=9, cuts=[0, 4, 4, 9], bounds=(0, 9))
@example(name="feather fixed binary", count=9, cuts=[0, 4, 4, 9], bounds=(4, 9))
@settings(max_examples=200)
def test_any_range_of_any_layout(
    name: str,
    count: int,
    cuts: list[int],
    bounds: tuple[int, int],
    distinct_rows: Rows,
    tmp_path_factory: Folder,
) -> None:
    """Record batches of any sizes, empty ones too, and ranges across them."""
    rows = distinct_rows[:count]
    ids = [f"g{i // 7}.{i % 7}" for i in range(count)]
    container = CONTAINERS[name]
    path = tmp_path_factory.getbasetemp() / f"range{container.suffix}"
    container.write(path, rows, ids, [min(cut, count) for cut in cuts])
    start, stop = sorted(min(bound, count) for bound in bounds)
    shard = open_hcpe_shard(path)
    part = shard.read(start, stop)
    assert part.shape == (stop - start, 38)
    assert part.dtype == np.uint8
    assert (raw_bytes(part) == raw_bytes(rows[start:stop])).all()
    if container.has_ids:
        keys = shard.game_keys(start, stop)
        assert (keys == keys_of_fixed_text(np.array(ids))[start:stop]).all()


@given(
    name=st.sampled_from(sorted(CONTAINERS)),
    cuts=st.lists(st.one_of(st.integers(0, 5000), EDGES), max_size=6),
    target=st.integers(1, 6000),
)
@example(name="feather binary", cuts=[0, 0, 1500, 1500, 5000], target=1024)
def test_block_bounds_cover_the_rows_once_in_blocks_that_hold_something(
    name: str,
    cuts: list[int],
    target: int,
    distinct_rows: Rows,
    tmp_path_factory: Folder,
) -> None:
    container = CONTAINERS[name]
    path = tmp_path_factory.getbasetemp() / f"blocks{container.suffix}"
    ids = ["a_1"] * 5000
    container.write(path, distinct_rows[:5000], ids, cuts)
    bounds = open_hcpe_shard(path).block_bounds(target)
    assert bounds[0] == 0
    assert bounds[-1] == 5000
    assert (np.diff(bounds) > 0).all()
    if container.suffix == ".feather":
        assert set(bounds[1:-1].tolist()) <= set(cuts), "a record batch is never cut"
    else:
        assert np.diff(bounds).max() <= target


def test_suffixes_are_read_in_any_case(distinct_rows: Rows, tmp_path: Path) -> None:
    path = tmp_path / "SHARD.HCPE"
    path.write_bytes(distinct_rows[:3].tobytes())
    assert open_hcpe_shard(path).rows == 3


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_feather_is_read_however_it_is_compressed(
    compression: str | None, distinct_rows: Rows, tmp_path: Path
) -> None:
    path = tmp_path / "shard.feather"
    write_feather(path, table_of(distinct_rows[:999]), (500,), compression)
    assert (open_hcpe_shard(path).read(0, 999) == distinct_rows[:999]).all()


def test_a_big_npy_header_version_is_read(distinct_rows: Rows, tmp_path: Path) -> None:
    """Numpy writes version 2 for long headers only, but others may write it always."""
    path = tmp_path / "shard.npy"
    array = distinct_rows[:5].copy().view(np.dtype(_raw_fields())).reshape(-1)
    with path.open("wb") as stream:
        np.lib.format.write_array(stream, array, version=(2, 0), allow_pickle=False)
    assert (open_hcpe_shard(path).read(1, 4) == distinct_rows[1:4]).all()


def _raw_fields() -> list[tuple[str, str] | tuple[str, str, tuple[int]]]:
    return [
        ("hcp", "u1", (32,)),
        ("eval", "<i2"),
        ("bestMove16", "<u2"),
        ("gameResult", "u1"),
        ("dummy", "u1"),
    ]
