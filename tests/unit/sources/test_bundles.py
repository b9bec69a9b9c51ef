"""Bundles hold the rows of their shards, in order, whatever the container."""

import numpy as np
import pytest

from maou.errors import DataError
from maou.records.containers import open_hcpe_shard
from maou.records.hcpe import HCPE, RAW_FIELDS, rich_dtype
from maou.records.preprocess import DENSE
from maou.records.preprocess_containers import open_preprocess_shard
from maou.records.write import write_hcpe_shard
from maou.sources.bundles import group, join


def _records(rows, id_bytes: int, game: str):
    records = np.zeros(len(rows), dtype=rich_dtype(id_bytes))
    for name in RAW_FIELDS:
        records[name] = rows.view(HCPE).reshape(-1)[name]
    records["id"] = [f"{game}_{ply}".encode() for ply in range(len(rows))]
    return records


def _groups(names, sizes, target):
    return [list(members) for members in group(names, sizes, target)]


def test_neighbours_are_joined_up_to_the_size():
    names = [f"{i}.hcpe" for i in range(5)]
    assert _groups(names, [4, 4, 4, 20, 4], 10) == [[0, 1], [2], [3], [4]]
    assert _groups(names, [1] * 5, 100) == [[0, 1, 2, 3, 4]]
    assert _groups([], [], 10) == []


def test_folders_and_containers_are_not_mixed():
    names = ["a/1.npy", "a/2.npy", "b/1.npy", "b/2.hcpe", "b/3.hcpe"]
    assert _groups(names, [1] * 5, 100) == [[0, 1], [2], [3, 4]]
    assert _groups(["1.other", "2.other"], [1, 1], 100) == [[0], [1]]


@pytest.mark.parametrize("container", ["hcpe", "npy", "feather"])
def test_rows_and_games_stay(container, tmp_path, selfplay_rows):
    parts, keys = [], []
    for number, width in enumerate((12, 30, 20)):
        raw = np.array(selfplay_rows[number * 50 : number * 50 + 50])
        rows = _records(raw, width, f"game{number}")
        path = tmp_path / f"{number}.{container}"
        write_hcpe_shard(path, rows, container)
        parts.append((path.name, path))
        shard = open_hcpe_shard(path)
        keys.append(shard.game_keys(0, 50) if shard.has_ids else np.zeros(50))
    bundle = tmp_path / f"bundle.{container}"
    with bundle.open("wb") as stream:
        join(parts, stream)
    shard = open_hcpe_shard(bundle)
    assert shard.rows == 150
    assert np.array_equal(shard.read(0, 150), selfplay_rows[:150])
    if shard.has_ids:
        assert np.array_equal(shard.game_keys(0, 150), np.concatenate(keys))


def test_preprocess_records_stay(tmp_path):
    parts = []
    for number in range(2):
        rows = np.zeros(3, dtype=DENSE)
        rows["id"] = np.arange(3) + 3 * number
        path = tmp_path / f"{number}.npy"
        np.save(path, rows)
        parts.append((path.name, path))
    bundle = tmp_path / "bundle.npy"
    with bundle.open("wb") as stream:
        join(parts, stream)
    assert open_preprocess_shard(bundle, packed=False).rows == 6
    assert np.load(bundle)["id"].tolist() == list(range(6))


def test_records_of_other_kinds_are_refused(tmp_path):
    for number, dtype in enumerate((DENSE, np.dtype([("x", "u1")]))):
        np.save(tmp_path / f"{number}.npy", np.zeros(2, dtype=dtype))
    parts = [(f"{i}.npy", tmp_path / f"{i}.npy") for i in range(2)]
    with (
        (tmp_path / "bundle").open("wb") as stream,
        pytest.raises(DataError, match=r"1\.npy: its records differ"),
    ):
        join(parts, stream)
