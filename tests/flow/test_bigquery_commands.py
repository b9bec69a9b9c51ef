"""The data commands on a table of BigQuery (bqemulator): what a folder gives."""

import json
from pathlib import Path

import pytest

from bigquery_server import DATASET
from bigquery_tables import hcpe_table, opened
from maou.cli.main import run
from maou.sources.bigquery_schema import HCPE_COLUMNS

COLUMNS = HCPE_COLUMNS[:6]  # those of `hcpe_table`


@pytest.fixture
def table(bigquery, tmp_path, selfplay_rows) -> str:
    bigquery.create(tmp_path.name, COLUMNS)
    bigquery.append(tmp_path.name, hcpe_table(selfplay_rows[:600]))
    return tmp_path.name


def _flags(table: str, tmp_path: Path, cache: str = "cache") -> list[str]:
    return [
        *("--input-dataset-id", DATASET, "--input-table-name", table),
        *("--input-local-cache-dir", str(tmp_path / cache)),
        *("--input-batch-size", "250"),
    ]


def _local(table: str, tmp_path: Path) -> Path:
    """Copy the table's shards to a folder."""
    shards = opened(table, tmp_path / "cache", input_batch_size=250)
    (tmp_path / "local").mkdir()
    for index, shard in enumerate(shards.shards):
        place = tmp_path / "local" / shards.name(index)
        place.write_bytes(shard.path.read_bytes())
    return tmp_path / "local"


def _contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*.npy")
    }


def test_positions_of_a_table_are_aggregated_alike(table, tmp_path, capfd):
    local = _local(table, tmp_path)
    base = ["pre-process", "--workers", "1", "--output-dir"]
    here, there = str(tmp_path / "here"), str(tmp_path / "there")
    assert run([*base, here, "--input-path", str(local)]) == 0
    assert run([*base, there, *_flags(table, tmp_path)]) == 0
    made = _contents(tmp_path / "here")
    assert len(made) == 2
    assert made == _contents(tmp_path / "there")
    capfd.readouterr()
    assert run([*base, there, *_flags(table, tmp_path, "another")]) == 0
    assert "Nothing was left to do" in capfd.readouterr().out, "the rows are the same"


def test_a_table_is_checked_alike(table, bigquery, tmp_path, selfplay_rows, capfd):
    reports = []
    for given in ([str(_local(table, tmp_path))], _flags(table, tmp_path)):
        assert run(["utility", "check-data", *given, "--json", "-"]) == 0
        reports.append(json.loads(capfd.readouterr().out))
    assert reports[1].pop("path") == f"BigQuery {DATASET}.{table}"
    del reports[0]["path"]
    assert reports[0] == reports[1]
    bad = selfplay_rows[:1].copy()
    bad[0, :32] = 255
    bigquery.append(table, hcpe_table(bad))
    flags = _flags(table, tmp_path)
    out = str(tmp_path / "out")
    assert run(["pre-process", "--workers", "1", *flags, "--output-dir", out]) == 2
    said = capfd.readouterr().err
    assert f"Error: BigQuery test-project.{DATASET}.{table}: shard " in said
    assert str(tmp_path / "cache" / "objects") not in said
