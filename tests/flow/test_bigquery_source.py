"""Training from BigQuery (bqemulator), by Google's SDK."""

import gc
import json
import os
import subprocess
import sys
import tempfile
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pytest

from bigquery_server import DATASET
from bigquery_tables import all_rows, hcpe_table, opened, source
from maou.cli.main import run
from maou.data.pipeline import open_data, split_sides
from maou.errors import ConfigError, DataError, RemoteError
from maou.records.preprocess_feather import DENSE_SCHEMA, PACKED_SCHEMA
from maou.sources.bigquery_schema import (
    DENSE_COLUMNS,
    HCPE_COLUMNS,
    PACKED_COLUMNS,
    Column,
    columns_of,
)
from maou.sources.config import SourceConfig
from maou.sources.local import open_local_shards

TINY = (
    *("--gpu", "cpu", "--resnet-blocks", "1", "--resnet-channels", "8"),
    *("--epoch", "1", "--batch-size", "50", "--no-export-onnx"),
)
ROWS = 1000
COLUMNS = HCPE_COLUMNS[:6]
"""Those of `hcpe_table`: the emulator loads no rows that lack columns of a table."""


@pytest.fixture
def by_pages(monkeypatch):
    """Take the Storage API away: rows then come in pages of a query."""
    monkeypatch.delenv("BIGQUERY_STORAGE_EMULATOR_HOST")


@pytest.fixture
def rows(selfplay_rows):
    return selfplay_rows[:ROWS]


@pytest.fixture
def table(bigquery, tmp_path, rows) -> str:
    """A table of hcpe rows in any order, partitioned and clustered."""
    return _table(bigquery, tmp_path.name, rows)


def _table(bigquery, name, rows) -> str:
    from google.cloud.bigquery import TimePartitioning

    bigquery.create(
        name,
        COLUMNS,
        time_partitioning=TimePartitioning(field="partitioningKey"),
        clustering_fields=["id"],
    )
    order = np.random.default_rng(0).permutation(len(rows))
    shuffled = hcpe_table(rows).take(pa.array(order))
    bigquery.append(name, shuffled.slice(0, 300))
    bigquery.append(name, shuffled.slice(300))
    bigquery.proxy.reset()
    return name


def _learn(tmp_path, *arguments: str) -> bytes:
    """Train; give the weights."""
    before = set((tmp_path / "models").glob("*"))
    places = ("--model-dir", str(tmp_path / "models"))
    places += ("--log-dir", str(tmp_path / "logs"))
    assert run(["learn-model", *TINY, *places, *arguments]) == 0
    (made,) = set((tmp_path / "models").glob("*")) - before
    return (made / "last" / "model.safetensors").read_bytes()


def _flags(table, cache, *more: str) -> tuple[str, ...]:
    named = ("--input-dataset-id", DATASET, "--input-table-name", table)
    return (*named, "--input-local-cache-dir", str(cache), *more)


def _sorted(rows) -> list[bytes]:
    return sorted(row[:37].tobytes() for row in rows)


def test_the_weights_are_those_of_a_local_run(table, rows, tmp_path, capfd):
    cache, batch = tmp_path / "cache", ("--input-batch-size", "400")
    there = _learn(tmp_path, *_flags(table, cache, *batch))
    assert "1,000 rows in 3 shards, 1,000 fetched by the Storage Read API" in (
        capfd.readouterr().err
    )
    shards = opened(table, cache, input_batch_size=400)
    assert _sorted(all_rows(shards)) == _sorted(rows)
    local = tmp_path / "local"
    local.mkdir()
    for index, shard in enumerate(shards.shards):
        kept = pyarrow.feather.read_table(shard.path)
        pyarrow.feather.write_feather(kept, local / shards.name(index))
    assert open_local_shards(local).fingerprint() == shards.fingerprint()
    assert _learn(tmp_path, "--input-path", str(local)) == there


def test_the_order_is_that_of_the_content(table, bigquery, tmp_path, rows, monkeypatch):
    name = f"{tmp_path.name}_other"
    other = _table(bigquery, name, rows[::-1].copy())
    bigquery.client().delete_table(f"{DATASET}.{name}")
    bigquery.create(name, COLUMNS)
    bigquery.append(other, hcpe_table(rows))
    first = opened(table, tmp_path / "1", input_batch_size=300)
    monkeypatch.delenv("BIGQUERY_STORAGE_EMULATOR_HOST")
    second = opened(other, tmp_path / "2", input_batch_size=300)
    assert [shard.rows for shard in first.shards] == [300, 300, 300, 100]
    assert first.fingerprint() == second.fingerprint()
    for one, two in zip(first.shards, second.shards, strict=True):
        assert one.path.read_bytes() == two.path.read_bytes()
    ids = pyarrow.feather.read_table(first.shards[0].path)["id"].to_pylist()
    assert len({text.split("_")[0] for text in ids[:20]}) > 10, "games are mixed"


@pytest.mark.parametrize("way", ["storage", "pages"])
def test_a_second_start_moves_no_rows(table, bigquery, tmp_path, monkeypatch, way):
    if way == "pages":
        monkeypatch.delenv("BIGQUERY_STORAGE_EMULATOR_HOST")
    first = opened(table, tmp_path / "cache")
    assert (len(bigquery.proxy.reads) > 0) == (way == "pages")
    monkeypatch.setenv("BIGQUERY_STORAGE_EMULATOR_HOST", "127.0.0.1:1")  # nobody there
    bigquery.proxy.reset()
    again = opened(table, tmp_path / "cache")
    assert [request.method for request in bigquery.proxy.requests] == ["GET"]
    assert "/tables/" in bigquery.proxy.requests[0].path
    assert again.fingerprint() == first.fingerprint()
    assert again.origin.endswith("all cached")


def test_a_changed_table_is_fetched_again(table, bigquery, tmp_path, selfplay_rows):
    opened(table, tmp_path / "cache")
    bigquery.append(table, hcpe_table(selfplay_rows[ROWS : ROWS + 10]))
    shards = opened(table, tmp_path / "cache")
    assert _sorted(all_rows(shards)) == _sorted(selfplay_rows[: ROWS + 10])
    assert "1,010 fetched" in shards.origin


def test_starts_at_the_same_time_share_the_fetch(table, bigquery, tmp_path, by_pages):
    with ThreadPoolExecutor(3) as pool:
        starts = [pool.submit(opened, table, tmp_path / "cache") for _ in range(3)]
        found = {start.result().fingerprint() for start in starts}
    assert len(found) == 1
    posts = [one for one in bigquery.proxy.requests if one.method == "POST"]
    assert len(posts) == 1


@pytest.mark.parametrize("way", ["storage", "pages"])
@pytest.mark.parametrize(
    ("column", "counts"),
    [("partitioningKey", [400, 400, 200]), ("id", [450, 450, 100])],
)
def test_pages_are_ranges_of_a_column(
    table, bigquery, tmp_path, rows, monkeypatch, way, column, counts
):
    if way == "pages":
        monkeypatch.delenv("BIGQUERY_STORAGE_EMULATOR_HOST")
    flag = "clustering_key" if column == "id" else "partitioning_key_date"
    settings = {f"input_{flag}": column, "input_batch_size": 450}
    shards = opened(table, tmp_path / "cache", **settings)
    assert _sorted(all_rows(shards)) == _sorted(rows)
    assert [shard.rows for shard in shards.shards] == counts
    names = [shards.name(index) for index in range(3)]
    if column == "id":
        for name, shard in zip(names, shards.shards, strict=True):
            low, high = urllib.parse.unquote(name).split("/")[0].split("..")
            ids = pyarrow.feather.read_table(shard.path)["id"].to_pylist()
            assert (low, high) == (min(ids), max(ids))
    else:
        assert names == [
            "2025-01-01..2025-01-02/00000.feather",
            "2025-01-03..2025-01-04/00000.feather",
            "2025-01-05/00000.feather",
        ]
    bigquery.proxy.reset()
    again = opened(table, tmp_path / "cache", **settings)
    assert len(bigquery.proxy.requests) == 1
    assert again.fingerprint() == shards.fingerprint()


def test_a_snapshot_of_a_table_is_read_as_it_is(table, bigquery, tmp_path, rows):
    name = f"{DATASET}.{table}"
    made = f"CREATE SNAPSHOT TABLE `{name}_kept` CLONE `{name}`"
    bigquery.client().query(made).result()
    bigquery.reset()
    shards = opened(f"{table}_kept", tmp_path / "cache")
    assert _sorted(all_rows(shards)) == _sorted(rows)
    (session,) = bigquery.storage.sessions
    assert not session.read_session.table_modifiers.snapshot_time


def test_a_table_that_needs_a_filter_is_refused(bigquery, tmp_path):
    from google.cloud.bigquery import TimePartitioning

    by_day = TimePartitioning.from_api_repr(
        {"field": "partitioningKey", "type": "DAY", "requirePartitionFilter": True}
    )
    bigquery.create(tmp_path.name, COLUMNS, time_partitioning=by_day)
    with pytest.raises(DataError, match="bq update --norequire_partition_filter test-"):
        opened(tmp_path.name, tmp_path / "cache")


def test_rows_without_a_value_are_a_page(bigquery, tmp_path, rows):
    from google.cloud.bigquery import TimePartitioning

    bigquery.create(
        tmp_path.name,
        COLUMNS,
        time_partitioning=TimePartitioning(field="partitioningKey"),
    )
    nulls = {"partitioningKey": pa.nulls(100, pa.date32())}
    bigquery.append(tmp_path.name, hcpe_table(rows[:200]))
    bigquery.append(tmp_path.name, hcpe_table(rows[200:300], **nulls))
    shards = opened(
        tmp_path.name,
        tmp_path / "cache",
        input_partitioning_key_date="partitioningKey",
    )
    assert {shards.name(i): s.rows for i, s in enumerate(shards.shards)} == {
        "null/00000.feather": 100,
        "2025-01-01/00000.feather": 200,
    }


def test_values_are_parameters_and_the_cost_is_bounded(
    table, bigquery, tmp_path, by_pages
):
    opened(table, tmp_path / "cache", input_clustering_key="id", input_batch_size=600)
    posts = [one for one in bigquery.proxy.requests if one.method == "POST"]
    assert len(posts) == 3
    for request in posts:
        query = json.loads(request.sent)["configuration"]["query"]
        assert int(query["maximumBytesBilled"]) == 10 << 20
        assert "FOR SYSTEM_TIME AS OF" in query["query"]
        assert "game " not in query["query"]
    values = [p["parameterValue"]["value"] for p in query["queryParameters"]]
    assert all(value.startswith("game ") for value in values)
    assert len(values) == 2


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"input_table_name": "t` WHERE 1=1 --"}, "is not a table"),
        ({"input_table_name": "t$20250101"}, "is not a table"),
        ({"input_dataset_id": "a.b`c"}, "is not a data set"),
        ({"input_clustering_key": "id; DROP"}, "is not a column"),
        ({"input_clustering_key": "eval"}, "is clustered first by id, so name that"),
        ({"input_clustering_key": "no"}, "has no such column, and is clustered first"),
        ({"input_partitioning_key_date": "id"}, "is partitioned by partitioningKey"),
    ],
)
def test_names_that_cannot_be_meant(table, tmp_path, settings, says):
    given = {"input_dataset_id": DATASET, "input_table_name": table, **settings}
    with pytest.raises(ConfigError, match=says):
        open_data(SourceConfig(input_local_cache_dir=tmp_path / "cache", **given))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            {"input_clustering_key": "nope"},
            "has no such column, and is not clustered; ",
        ),
        ({"input_clustering_key": "eval"}, r"{} is not clustered; leave the flag out"),
        ({"input_partitioning_key_date": "eval"}, r"{} is not partitioned; leave the"),
    ],
)
def test_a_table_without_pages(bigquery, tmp_path, settings, says):
    bigquery.create(tmp_path.name, COLUMNS)
    bigquery.append(tmp_path.name, hcpe_table(np.zeros((1, 38), np.uint8)))
    with pytest.raises(ConfigError, match=says.format(tmp_path.name)):
        opened(tmp_path.name, tmp_path / "cache", **settings)


def test_a_table_that_does_not_fit_is_refused(bigquery, tmp_path):
    made = [Column("hcp", "STRING"), *HCPE_COLUMNS[1:3], Column("id", "INT64")]
    bigquery.create(tmp_path.name, made)
    with pytest.raises(DataError) as caught:
        opened(tmp_path.name, tmp_path / "cache")
    for text in (
        "hcp: expected BYTES, found STRING",
        "gameResult: expected INT64, found nothing",
        "id: expected STRING, found INT64",
    ):
        assert text in str(caught.value)
    assert "eval" not in str(caught.value)


def test_places_where_nothing_is(bigquery, tmp_path, rows):
    with pytest.raises(RemoteError, match=r"not found \(HTTP 404"):
        opened("no_such", tmp_path / "cache")
    bigquery.create(tmp_path.name, COLUMNS)
    with pytest.raises(DataError, match="has no rows"):
        opened(tmp_path.name, tmp_path / "cache")
    from google.cloud.bigquery import Table

    view = Table(f"test-project.{DATASET}.{tmp_path.name}_view")
    view.view_query = "SELECT 1"
    bigquery.client().create_table(view)
    with pytest.raises(DataError, match="is a view"):
        opened(f"{tmp_path.name}_view", tmp_path / "cache")


@pytest.mark.parametrize(
    ("column", "values", "says"),
    [
        ("eval", [1, 40_000], "column eval: a value is not within -32768 to 32767"),
        ("hcp", [b"x" * 32, b"short"], "column hcp: a value is not 32 bytes"),
        ("id", ["game_1", None], "column id: a row has no value"),
    ],
)
def test_values_that_do_not_fit(bigquery, tmp_path, rows, column, values, says):
    bigquery.create(tmp_path.name, COLUMNS)
    kind = pa.binary() if column == "hcp" else None
    changed = {column: pa.array(values, kind)}
    bigquery.append(tmp_path.name, hcpe_table(rows[:2], **changed))
    with pytest.raises(DataError, match=says):
        opened(tmp_path.name, tmp_path / "cache")
    assert not list((tmp_path / "cache" / "partial").iterdir())


def test_the_limit_of_the_cache_holds(table, tmp_path):
    cache = tmp_path / "cache"
    with pytest.raises(ConfigError, match="--input-max-cached-bytes 1000"):
        opened(table, cache, input_max_cached_bytes=1000)
    opened(table, cache, input_max_cached_bytes=150_000, input_batch_size=500)
    gc.collect()
    shards = opened(table, cache, input_max_cached_bytes=150_000, input_batch_size=250)
    held = sum(path.stat().st_size for path in (cache / "objects").glob("*/*.feather"))
    assert held <= 150_000
    assert len(shards.shards) == 4


def test_without_a_cache_nothing_is_left(table, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    shards = opened(table, None)
    assert len(list(tmp_path.glob("maou-*"))) == 1
    del shards
    gc.collect()
    assert not list(tmp_path.glob("maou-*"))
    shards = opened(table, tmp_path / "cache", input_local_cache=False)
    assert len(list((tmp_path / "cache" / "private").iterdir())) == 1
    del shards
    gc.collect()
    assert not list((tmp_path / "cache" / "private").iterdir())
    assert not list((tmp_path / "cache" / "objects").iterdir())


def test_rows_without_ids_are_warned_about(bigquery, tmp_path, rows):
    bigquery.create(tmp_path.name, HCPE_COLUMNS[:4])
    bigquery.append(tmp_path.name, hcpe_table(rows).select(range(4)))
    told: list[str] = []
    shards = open_data(source(tmp_path.name, tmp_path / "cache"), told.append)
    assert _sorted(all_rows(shards)) == _sorted(rows)
    assert any("has no column id" in line for line in told)


@pytest.fixture(params=[True, False], ids=["packed", "dense"])
def preprocess(request, bigquery, tmp_path, selfplay_path) -> tuple[bool, Path]:
    """What pre-process makes of some games, as a folder and as a table."""
    games = tmp_path / "games.hcpe"
    games.write_bytes(selfplay_path.read_bytes()[: 38 * 150])
    packed, out = request.param, tmp_path / "preprocess"
    form = ("--packed" if packed else "--no-packed", "--output-format", "feather")
    given = ("--input-path", str(games), "--output-dir", str(out), "--workers", "1")
    assert run(["pre-process", *given, *form]) == 0
    bigquery.create(tmp_path.name, columns_of("preprocess", packed))
    for side in ("train", "validation"):
        for file in (out / side).glob("*.feather"):
            rows = _as_table(pyarrow.feather.read_table(file))
            rows = rows.append_column("side", pa.array([side] * len(rows)))
            bigquery.append(tmp_path.name, rows)
    return packed, out


def _as_table(rows: pa.Table) -> pa.Table:
    """Give rows of a preprocess shard the types of a table."""
    plain = {pa.uint8(): np.int64, pa.float16(): np.float64}
    made = {}
    for name, column in zip(rows.column_names, rows.columns, strict=True):
        if name == "id":
            values = column.to_numpy().view(np.int64)
        elif name == "hcp":
            values = column.cast(pa.binary())
        elif pa.types.is_fixed_size_list(column.type):
            width = column.type.list_size
            offsets = np.arange(0, (len(column) + 1) * width, width, dtype=np.int32)
            elements = column.combine_chunks().flatten()
            numbers = elements.to_numpy().astype(plain[elements.type])
            values = pa.ListArray.from_arrays(offsets, numbers)
        elif name == "moves":
            values = pa.array(column.to_pylist())
        else:
            values = column.to_numpy().astype(np.float64 if "V" in name else np.int64)
        made[name] = values
    return pa.table(made)


def test_preprocess_rows_and_their_sides(bigquery, preprocess, tmp_path, monkeypatch):
    packed, folder = preprocess
    form = {"input_format": "preprocess", "input_file_packed": packed}
    there = open_data(source(tmp_path.name, tmp_path / "cache", **form))
    here = open_data(SourceConfig(folder, **form))
    names = [there.name(i).split("/")[0] for i in range(len(there.shards))]
    assert names == ["train", "validation"]
    sides = [[side.count for side in split_sides(s, 0.2, 0)] for s in (here, there)]
    assert sides[0] == sides[1]
    schema = PACKED_SCHEMA if packed else DENSE_SCHEMA
    for side in ("train", "validation"):
        local = [
            pyarrow.feather.read_table(f) for f in sorted(folder.glob(f"{side}/*"))
        ]
        fetched = pyarrow.feather.read_table(there.shards[names.index(side)].path)
        assert fetched.schema.equals(schema)
        key = "hcp" if packed else "id"
        assert pa.concat_tables(local).sort_by(key).equals(fetched.sort_by(key))
    monkeypatch.delenv("BIGQUERY_STORAGE_EMULATOR_HOST")
    by_pages = open_data(source(tmp_path.name, None, **form))
    for one, two in zip(there.shards, by_pages.shards, strict=True):
        assert one.path.read_bytes() == two.path.read_bytes()


def test_pre_process_reads_a_table_like_a_folder(table, tmp_path):
    shards = opened(table, tmp_path / "cache", input_batch_size=400)
    local = tmp_path / "local"
    local.mkdir()
    for index, shard in enumerate(shards.shards):
        (local / shards.name(index)).write_bytes(shard.path.read_bytes())
    flags = _flags(table, tmp_path / "cache", "--input-batch-size", "400")
    made = []
    for name, given in (("a", ("--input-path", str(local))), ("b", flags)):
        out = tmp_path / name
        more = ("--output-dir", str(out), "--workers", "1")
        assert run(["pre-process", *given, *more]) == 0
        files = sorted(path for path in out.rglob("*.npy"))
        made.append([(f.relative_to(out), f.read_bytes()) for f in files])
    assert made[0] == made[1]
    assert len(made[0]) == 2


def test_the_forms_of_preprocess_rows_are_told_apart(bigquery, tmp_path):
    bigquery.create(f"{tmp_path.name}_p", PACKED_COLUMNS)
    bigquery.create(f"{tmp_path.name}_d", DENSE_COLUMNS)
    for form, packed in (("p", False), ("d", True)):
        settings = {"input_format": "preprocess", "input_file_packed": packed}
        with pytest.raises(DataError, match="Check --input-format, --input-file-pack"):
            open_data(source(f"{tmp_path.name}_{form}", None, **settings))


def test_a_million_rows_stay_under_a_gigabyte(bigquery, tmp_path, selfplay_rows):
    """Here a tenth of them; benchmarks/bigquery_source.py fetches all."""
    amount = 100_000
    bigquery.create("positions", COLUMNS)
    rows = np.resize(selfplay_rows, (amount, 38))
    bigquery.append("positions", hcpe_table(rows))
    environment = {
        **os.environ,
        "BIGQUERY_EMULATOR_HOST": f"http://{bigquery.rest}",
        "BIGQUERY_STORAGE_EMULATOR_HOST": bigquery.storage.upstream,
    }
    program = Path(__file__).parents[2] / "benchmarks" / "bigquery_source.py"
    done = subprocess.run(
        [sys.executable, program, "--child", str(tmp_path / "cache")],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["rows"] == amount
    assert found["peak_mb"] < 1000 * amount / 1e6 + found["before_mb"]
