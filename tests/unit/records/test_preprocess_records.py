"""Shards of preprocess records: what is written is read, in any piece."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from maou.errors import DataError
from maou.records.keys import key_of
from maou.records.preprocess import (
    DENSE,
    MOVE,
    POSITION,
    PackedBlock,
    dense_rows,
    joined,
    packed_dtype,
    position_ids,
    totals,
)
from maou.records.preprocess_containers import kind_of_file, open_preprocess_shard
from maou.records.preprocess_shards import DenseShard, PackedShard, PreprocessShard
from maou.records.write_preprocess import DENSE_BATCH, write_preprocess_shard
from maou.shogi.hcp import decode_hcp, encode_hcp
from preprocess_blocks import made_block, part_of
from shard_files import write_feather

FORMS = [(suffix, packed) for suffix in (".npy", ".feather") for packed in (1, 0)]


@pytest.fixture(scope="module")
def block(selfplay_rows: npt.NDArray[np.uint8]) -> PackedBlock:
    return made_block(selfplay_rows[:3000])


@pytest.fixture(params=FORMS, ids=lambda form: f"{form[0]}-{form[1]}", scope="module")
def shard(
    request: pytest.FixtureRequest,
    block: PackedBlock,
    tmp_path_factory: pytest.TempPathFactory,
) -> PreprocessShard:
    suffix, packed = request.param
    path = tmp_path_factory.mktemp("shards") / f"a{suffix}"
    write(path, block, bool(packed))
    return open_preprocess_shard(path, bool(packed))


def write(path: Path, block: PackedBlock, packed: bool) -> None:
    write_preprocess_shard(
        path,
        lambda start, stop: part_of(block, start, stop),
        len(block.codes),
        len(block.labels),
        packed,
    )


@pytest.mark.parametrize(
    ("start", "stop"), [(0, 1), (0, 2500), (1, 2), (1000, 1100), (1023, 2049)]
)
def test_any_piece_is_read(
    shard: PreprocessShard, block: PackedBlock, start: int, stop: int
) -> None:
    assert shard.rows == len(block.codes) > 2500
    wanted = part_of(block, start, stop)
    assert shard.codes(start, stop).tobytes() == wanted.codes.tobytes()
    if isinstance(shard, PackedShard):
        for found, column in zip(shard.read(start, stop), wanted, strict=True):
            assert found.dtype == column.dtype
            assert found.tolist() == column.tolist()
    else:
        assert isinstance(shard, DenseShard)
        found = shard.read(start, stop)
        assert found.dtype == DENSE
        assert found.tobytes() == dense_rows(wanted).tobytes()


def test_blocks_cover_the_rows(shard: PreprocessShard) -> None:
    bounds = shard.block_bounds(700)
    assert bounds[0] == 0
    assert bounds[-1] == shard.rows
    assert (np.diff(bounds) > 0).all()
    if shard.path.suffix == ".feather" and not shard.packed:
        assert bounds.tolist() == [0, DENSE_BATCH, 2 * DENSE_BATCH, shard.rows]


def test_kinds_are_told_and_the_other_is_refused_by_name(
    shard: PreprocessShard,
) -> None:
    kind, other = ("packed", "dense") if shard.packed else ("dense", "packed")
    assert kind_of_file(shard.path) == kind
    says = f"holds {kind} preprocess records, not {other} ones"
    with pytest.raises(DataError, match=says):
        open_preprocess_shard(shard.path, not shard.packed)


def test_equal_positions_give_equal_bytes(block: PackedBlock, tmp_path: Path) -> None:
    for suffix, packed in FORMS:
        for name in "ab":
            write(tmp_path / f"{name}{suffix}", block, bool(packed))
        files = [(tmp_path / f"{name}{suffix}").read_bytes() for name in "ab"]
        assert files[0] == files[1]


def test_dense_rows_are_shares_and_means(block: PackedBlock) -> None:
    rows = dense_rows(part_of(block, 0, 200))
    for i, row in enumerate(rows):
        moves = slice(block.offsets[i], block.offsets[i + 1])
        counts, wins = block.counts[moves], block.wins[moves]
        assert row["count"] == counts.sum()
        assert row["resultValue"] == np.float16(wins.sum() / (2 * counts.sum()))
        played = block.labels[moves]
        assert np.flatnonzero(row["moveLabel"]).tolist() == played.tolist()
        shares = (counts / counts.sum()).astype(np.float16)
        assert row["moveLabel"][played].tolist() == shares.tolist()
        rates = (wins / (2 * counts)).astype(np.float16)
        assert row["moveWinRate"][played].tolist() == rates.tolist()
        assert not np.delete(row["moveWinRate"], played).any()
    codes, status = encode_hcp(
        rows["boardIdPositions"].reshape(-1, 81), rows["piecesInHand"]
    )
    assert not status.any()
    assert codes.tobytes() == block.codes[:200].tobytes()


def test_ids_are_the_key_of_the_codes_words(block: PackedBlock) -> None:
    ids = position_ids(block.codes)
    assert ids.dtype == np.uint64
    for i in (0, 7, 100):
        words = np.frombuffer(block.codes[i].tobytes(), dtype="<u8")
        assert int(ids[i]) == key_of(*(int(word) for word in words))


def test_joined_parts_are_the_whole(block: PackedBlock) -> None:
    parts = [part_of(block, a, b) for a, b in ((0, 1), (1, 900), (900, 1000))]
    for found, wanted in zip(joined(parts), part_of(block, 0, 1000), strict=True):
        assert found.tolist() == wanted.tolist()
    assert totals(block).tolist() == [
        int(block.counts[a:b].sum())
        for a, b in zip(block.offsets[:-1], block.offsets[1:], strict=True)
    ]


def test_layouts_never_change() -> None:
    """Golden: files on users' disks have these."""
    assert (POSITION.itemsize, MOVE.itemsize, DENSE.itemsize) == (40, 10, 6093)
    assert POSITION.names == ("hcp", "count", "end")
    assert MOVE.names == ("label", "count", "wins")
    assert packed_dtype(3, 5).itemsize == 3 * 40 + 5 * 10
    start = np.frombuffer(
        bytes.fromhex(
            "58a449210cd757217e8e4d212caf427814c2ab109e4d212cd75f213e8e49210c"
        ),
        dtype=np.uint8,
    ).reshape(1, 32)
    assert not decode_hcp(start)[2].any()
    assert position_ids(start).tolist() == [START_ID]


START_ID = 12300062572705582339
"""Computed in plain Python from the formula in docs/formats.md."""


@pytest.mark.parametrize("name", ["a.bin", "a.parquet", "a"])
def test_other_suffixes_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(bytes(38))
    with pytest.raises(DataError, match="not a preprocess container"):
        open_preprocess_shard(tmp_path / name, packed=True)


def test_hcpe_shards_are_refused_with_what_to_do(tmp_path: Path) -> None:
    hcpe: Any = np.zeros(3, dtype=[("hcp", "u1", (32,)), ("bestMove16", "<u2")])
    np.save(tmp_path / "a.npy", hcpe)
    table = pa.table({"bestMove16": pa.array([1], pa.uint16())})
    write_feather(tmp_path / "a.feather", table)
    for suffix, packed in FORMS:
        with pytest.raises(DataError, match=r"holds hcpe records; .* maou pre-process"):
            open_preprocess_shard(tmp_path / f"a{suffix}", bool(packed))
