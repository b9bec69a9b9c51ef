"""`maou pre-process --engine bigquery` against bqemulator: the sums of SQL."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bigquery_server import DATASET
from bigquery_tables import hcpe_table
from maou.cli.main import run
from maou.convert import engine_bigquery
from maou.convert.config_preprocess import PreProcessConfig
from maou.convert.preprocess import pre_process
from maou.convert.preprocess_state import Report
from maou.records.keys import keyed_hash
from maou.records.split import split_key
from maou.sources.bigquery_adding import BigQueryAddingUp
from maou.sources.bigquery_pages import table_name
from maou.sources.bigquery_schema import ADDING_UP_COLUMNS, HCPE_COLUMNS

GAMES = Path(__file__).parents[1] / "data" / "games" / "selfplay.csa"
SEED = 3


@pytest.fixture(scope="module")
def converted(bigquery_server, tmp_path_factory) -> Path:
    """Converted games: shards, and a table `added` of the same rows."""
    out = tmp_path_factory.mktemp("games") / "hcpe"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in bigquery_server.environment().items():
            patch.setenv(name, value)
        flags = ["--output-dataset-id", DATASET, "--output-table-name", "added"]
        base = ["hcpe-convert", "--input-path", str(GAMES), "--output-dir", str(out)]
        assert run([*base, "--workers", "0", *flags]) == 0
    return out


def flags(out: Path, *more: str) -> list[str]:
    base = ["pre-process", "--output-dir", str(out), "--seed", str(SEED)]
    return [*base, "--shard-rows", "500", "--workers", "1", *more]


def of_table(name: str) -> list[str]:
    table = ["--input-dataset-id", DATASET, "--input-table-name", name]
    return [*table, "--engine", "bigquery"]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "pre-process.json"
    }


def summary(folder: Path) -> dict[str, object]:
    state = json.loads((folder / "pre-process.json").read_text())
    del state["inputs"]
    return state


def test_the_shards_are_those_of_threads(bigquery, converted, tmp_path, selfplay_rows):
    left_out = tmp_path / "left-out.hcpe"
    left_out.write_bytes(selfplay_rows[:20].tobytes())
    more = ("--exclude", str(left_out), "--test-ratio", "0.3")
    here, there = tmp_path / "here", tmp_path / "there"
    assert run(flags(here, "--input-path", str(converted), *more)) == 0
    assert run(flags(there, *of_table("added"), *more)) == 0
    assert contents(there) == contents(here)
    assert summary(there) == summary(here)
    assert min(summary(there)["rows"]) > 100
    assert sum(summary(there)["excluded_rows"]) > 10
    assert not [
        t for t in bigquery.client().list_tables(DATASET) if "maou" in t.table_id
    ]


def test_sql_hashes_games_to_the_bit(bigquery, converted):
    table = BigQueryAddingUp(table_name(DATASET, "added"), 2)
    key = split_key(SEED)
    sql = f"SELECT DISTINCT gameKey FROM `{table.path}`"  # noqa: S608
    found = [row[0] for row in bigquery.client().query(sql).result()]
    hashes = keyed_hash(np.array(found, dtype=np.int64).view(np.uint64), key)
    middle = int(np.sort(hashes)[len(hashes) // 2])
    below = table.sides(table.describe(), key, middle)
    assert (below.low, below.high) == (int(hashes.min()), int(hashes.max()))
    above = table.sides(table.describe(), key, middle + 1)
    assert 0 < below.held < above.held < above.rows


def test_stopped_and_run_again_gives_the_same_bytes(
    bigquery, converted, tmp_path, monkeypatch
):
    class StopError(Exception):
        pass

    def stop_in(phase: str) -> Callable[[Report], None]:
        def stop(report: Report) -> None:
            if report.phase == phase:
                raise StopError

        return stop

    monkeypatch.setattr(engine_bigquery, "_FEWEST_SUMS", 300)
    monkeypatch.setattr(engine_bigquery, "_MOST_SUMS", 300)
    here, there = tmp_path / "here", tmp_path / "there"
    # So small that no game is below: the nearest one is held out.
    ratio = ("--test-ratio", "0.000001")
    assert run(flags(here, "--input-path", str(converted), *ratio)) == 0
    config = PreProcessConfig(
        input_dataset_id=DATASET,
        input_table_name="added",
        engine="bigquery",
        output_dir=there,
        seed=SEED,
        test_ratio=0.000001,
        shard_rows=500,
        workers=1,
    )
    with pytest.raises(StopError):
        pre_process(config, stop_in("spill"))
    plan = json.loads((there / "spilled" / "bigquery.json").read_text())
    assert list((there / "spilled").glob("run-sums-*"))
    for phase in ("merge", "write"):
        bigquery.proxy.reset()
        with pytest.raises(StopError):
            pre_process(config, stop_in(phase))
        sent = [one.path for one in bigquery.proxy.requests if one.method == "POST"]
        assert not [path for path in sent if "/jobs" in path], "nothing is asked twice"
        found = [one for one in bigquery.proxy.requests if plan["name"] in one.path]
        assert bool(found) == (phase == "merge"), "the job is found by its name"
    pre_process(config)
    assert contents(there) == contents(here)
    assert summary(there) == summary(here)
    assert summary(there)["rows"][1] > 0


def test_a_table_without_the_columns_is_refused(
    bigquery, tmp_path, capsys, selfplay_rows
):
    bigquery.create("plain", HCPE_COLUMNS[:6])
    bigquery.append("plain", hcpe_table(selfplay_rows[:100]))
    idle = ("--input-clustering-key", "id")
    assert run(flags(tmp_path / "out", *of_table("plain"), *idle)) == 2
    said = capsys.readouterr().err
    assert "--input-clustering-key has no effect" in said
    assert all(column.name in said for column in ADDING_UP_COLUMNS)
    assert "maou hcpe-convert --output-dataset-id" in said


def test_the_engine_needs_a_table(tmp_path, capsys, converted):
    source = ("--input-path", str(converted), "--engine", "bigquery")
    assert run(flags(tmp_path / "out", *source)) == 2
    assert "needs --input-dataset-id and --input-table-name" in capsys.readouterr().err
