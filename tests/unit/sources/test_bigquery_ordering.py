"""Rows in the order of their content, however they come and however little fits."""

import numpy as np
import pyarrow as pa
import pytest

from maou.sources import bigquery_ordering
from maou.sources.bigquery_ordering import Ordering, cut
from maou.sources.bigquery_rows import FORMS, ORDER

ROWS = 3000


def _hcpe(with_ids: bool) -> pa.Table:
    """Rows of which a third are of one position."""
    random = np.random.default_rng(0)
    codes = [random.bytes(32) if i % 3 else bytes(32) for i in range(ROWS)]
    columns = {
        "hcp": pa.array(codes, pa.binary()),
        "eval": random.integers(-3, 3, ROWS),
        "bestMove16": random.integers(0, 2, ROWS),
        "gameResult": random.integers(0, 3, ROWS),
    }
    if with_ids:
        columns["id"] = [f"game{i % 7}_{i // 40}" for i in range(ROWS)]
    return pa.table(columns)


def _packed(_: bool) -> pa.Table:
    """Rows of few positions, whose moves alone tell them apart."""
    return pa.table(
        {
            "hcp": pa.array([bytes([i % 40]) * 32 for i in range(ROWS)], pa.binary()),
            "count": np.ones(ROWS, np.int64),
            "moves": [[{"label": i, "count": 1, "wins": 2}] for i in range(ROWS // 2)]
            * 2,
        }
    )


@pytest.mark.parametrize(
    ("make", "form", "with_ids"),
    [(_hcpe, "hcpe", True), (_hcpe, "hcpe", False), (_packed, "packed", True)],
)
def test_neither_the_way_nor_the_parts_matter(
    make, form, with_ids, tmp_path, monkeypatch
):
    kind, rows = FORMS[form], make(with_ids)
    found, parts = [], set()
    for part_bytes, seed in ((1 << 30, 1), (50_000, 2), (9_000, 3)):
        monkeypatch.setattr(bigquery_ordering, "PART_BYTES", part_bytes)
        ordering = Ordering(kind, ROWS, tmp_path / "rows")
        shuffled = rows.take(np.random.default_rng(seed).permutation(ROWS))
        for batch in shuffled.to_batches(max_chunksize=170):
            ordering.add(kind.converted("here", batch))
        parts.add(len(list(tmp_path.iterdir())))
        found.append(pa.concat_tables(ordering.tables()).combine_chunks())
        assert not list(tmp_path.iterdir())
    assert len(parts) == 3
    assert found[0].equals(found[1])
    assert found[0].equals(found[2])
    assert ORDER not in found[0].column_names
    assert sorted(found[0]["hcp"].to_pylist()) == sorted(rows["hcp"].to_pylist())


def test_batches_are_full_except_at_the_end_of_a_shard():
    rows = pa.table({"x": np.arange(1000)})
    tables = [rows.slice(begin, 70) for begin in range(0, 1000, 70)]
    batches = list(cut(tables, 100, 250))
    sizes = [batch.num_rows for batch in batches]
    assert sizes == [100, 100, 50] * 4
    assert pa.Table.from_batches(batches).equals(rows)
    assert [batch.num_rows for batch in cut(tables, 400, 10_000)] == [400, 400, 200]
    assert list(cut([], 400, 1000)) == []
