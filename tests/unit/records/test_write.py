"""Writing hcpe shards."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from maou.errors import DataError
from maou.records.hcpe import HCPE, rich_dtype
from maou.records.write import BATCH_ROWS, write_hcpe_shard


def rows(count: int) -> np.ndarray:
    made = np.zeros(count, dtype=rich_dtype())
    rng = np.random.default_rng(1)
    made["hcp"] = rng.integers(0, 256, (count, 32))
    made["eval"] = rng.integers(-32767, 32768, count)
    made["gameResult"] = rng.integers(0, 3, count)
    made["id"] = [f"棋/a.csa:{i // 90}_{i % 90}".encode() for i in range(count)]
    made["partitioningKey"] = np.datetime64("2020-01-02")
    made["partitioningKey"][::7] = np.datetime64("NaT")
    return made


def test_feather_has_several_batches_and_the_stated_types(tmp_path: Path) -> None:
    written = rows(BATCH_ROWS + 5)
    write_hcpe_shard(tmp_path / "a.feather", written, "feather")
    with pa.ipc.open_file(tmp_path / "a.feather") as reader:
        sizes = [reader.get_batch(i).num_rows for i in range(reader.num_record_batches)]
        table = reader.read_all()
    assert sizes == [BATCH_ROWS, 5]
    assert table.schema.field("hcp").type == pa.binary(32)
    assert table.schema.field("partitioningKey").type == pa.date32()
    assert table.schema.field("ratings").type == pa.list_(pa.uint16(), 2)
    assert b"".join(table["hcp"].to_pylist()) == written["hcp"].tobytes()
    assert table["eval"].to_pylist() == written["eval"].tolist()
    assert table["id"].to_pylist() == [text.decode() for text in written["id"]]
    assert table["partitioningKey"].null_count == len(range(0, len(written), 7))


def test_equal_rows_give_equal_bytes(tmp_path: Path) -> None:
    for container in ("feather", "npy", "hcpe"):
        for name in "ab":
            write_hcpe_shard(tmp_path / name, rows(100), container)
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_raw_rows_are_enough_for_a_raw_shard_only(tmp_path: Path) -> None:
    raw = np.zeros(3, dtype=HCPE)
    write_hcpe_shard(tmp_path / "a.hcpe", raw, "hcpe")
    assert (tmp_path / "a.hcpe").stat().st_size == 3 * 38
    with pytest.raises(DataError, match="partitioningKey"):
        write_hcpe_shard(tmp_path / "a.npy", raw, "npy")
    with pytest.raises(DataError, match="parquet"):
        write_hcpe_shard(tmp_path / "a.parquet", raw, "parquet")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.hcpe"]
