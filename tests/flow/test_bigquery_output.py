"""Data commands that load what they make into BigQuery (bqemulator)."""

import itertools
import json
import sys
from pathlib import Path

import pytest

from bigquery_server import DATASET, PROJECT
from bigquery_tables import QUICK, all_rows, opened, source
from fault_proxy import Fault
from maou.cli.main import run
from maou.convert import table_output
from maou.convert.table_output import Part, TableOutput
from maou.records.preprocess_containers import open_preprocess_shard
from maou.sources.bigquery_shards import open_bigquery_shards
from maou.sources.config_table import TableOutputConfig
from maou.sources.local import open_local_shards, preprocess_kind

GAMES = Path(__file__).parents[1] / "data" / "games" / "selfplay.csa"


def table_flags(name: str) -> list[str]:
    return ["--output-dataset-id", DATASET, "--output-table-name", name]


def convert(out: Path, *flags: str) -> int:
    base = ["hcpe-convert", "--input-path", str(GAMES), "--output-dir", str(out)]
    return run([*base, "--workers", "0", "--shard-rows", "1000", *flags])


def tables(bigquery) -> set[str]:
    return {table.table_id for table in bigquery.client().list_tables(DATASET)}


def in_order(rows) -> list[bytes]:
    return sorted(row[:37].tobytes() for row in rows)


@pytest.mark.parametrize("container", ["feather", "npy"])
def test_converted_games_come_back_as_equal_rows(bigquery, tmp_path, capsys, container):
    name, out = tmp_path.name, tmp_path / "out"
    flags = (*table_flags(name), "--output-format", container)
    assert convert(out, *flags) == 0
    rows = all_rows(open_local_shards(out))
    said = f"{len(rows):,} rows loaded into BigQuery {PROJECT}.{DATASET}.{name}"
    assert said in capsys.readouterr().out
    assert in_order(all_rows(opened(name, tmp_path / "cache"))) == in_order(rows)
    table = bigquery.client().get_table(f"{DATASET}.{name}")
    assert table.time_partitioning.field == "partitioningKey"
    assert table.clustering_fields == ["id"]
    assert tables(bigquery) & {name, f"{name}_maou"} == {name}
    # Again: nothing is loaded twice.
    bigquery.proxy.reset()
    assert convert(out, *flags) == 0
    assert "already in BigQuery" in capsys.readouterr().out
    assert bigquery.client().get_table(f"{DATASET}.{name}").num_rows == len(rows)
    assert not [one for one in bigquery.proxy.requests if "upload" in one.path]


def test_learn_model_reads_what_was_converted(bigquery, tmp_path):
    name, out = tmp_path.name, tmp_path / "out"
    assert convert(out, *table_flags(name)) == 0
    tiny = ["--gpu", "cpu", "--resnet-blocks", "1", "--resnet-channels", "8"]
    tiny += ["--epoch", "1", "--no-export-onnx", "--dataloader-workers", "0"]
    places = ["--model-dir", str(tmp_path / "m"), "--log-dir", str(tmp_path / "l")]
    source = ["--input-dataset-id", DATASET, "--input-table-name", name]
    assert run(["learn-model", *tiny, *places, *source]) == 0


@pytest.mark.parametrize("form", ["packed", "dense"])
def test_preprocess_records_come_back_with_their_side(
    bigquery, tmp_path, selfplay_rows, form
):
    rows = 4_000 if form == "packed" else 300
    (tmp_path / "in.hcpe").write_bytes(selfplay_rows[:rows].tobytes())
    name, out = tmp_path.name, tmp_path / "out"
    flags = ["--input-path", str(tmp_path / "in.hcpe"), "--output-dir", str(out)]
    flags += ["--shard-rows", "1000", *table_flags(name)]
    flags += ["--no-packed"] if form == "dense" else []
    assert run(["pre-process", *flags]) == 0
    counted = "SELECT side, COUNT(*), SUM(`count`) FROM `{}.{}` GROUP BY side"
    found = bigquery.client().query(counted.format(DATASET, name)).result()
    state = json.loads((out / "pre-process.json").read_text())
    assert {row[0]: (row[1], row[2]) for row in found} == {
        side: (state["positions"][i], state["rows"][i])
        for i, side in enumerate(("train", "validation"))
    }
    if form == "packed":
        config = source(name, tmp_path / "cache", input_format="preprocess")
        shards = open_bigquery_shards(config, preprocess_kind(True), lambda _: None)
        for side in ("train", "validation"):
            there = [
                one
                for index, shard in enumerate(shards.shards)
                if shards.name(index).startswith(side)
                for one in positions(shard)
            ]
            here = [
                one
                for path in (out / side).iterdir()
                for one in positions(open_preprocess_shard(path, True))
            ]
            assert sorted(there) == sorted(here)


def positions(shard) -> list[tuple[bytes, list[tuple[int, int, int]]]]:
    """Each position's code with its moves."""
    block = shard.read(0, shard.rows)
    numbers = (block.labels.tolist(), block.counts.tolist(), block.wins.tolist())
    moves = list(zip(*numbers, strict=True))
    bounds = itertools.pairwise(block.offsets)
    return [
        (code.tobytes(), moves[first:stop])
        for code, (first, stop) in zip(block.codes, bounds, strict=True)
    ]


def test_a_stopped_load_goes_on_and_loads_nothing_twice(
    bigquery, tmp_path, monkeypatch
):
    name, out = tmp_path.name, tmp_path / "out"
    assert convert(out, "--shard-rows", "300") == 0
    rows = all_rows(open_local_shards(out))
    form = table_output.FORMS["hcpe"]._replace(file_rows=300)
    monkeypatch.setitem(table_output.FORMS, "hcpe", form)
    shards = json.loads((out / "hcpe-convert.json").read_text())["shards"]
    parts = [Part(shard["name"], shard["rows"], "") for shard in shards]
    assert len(parts) > 4
    config = TableOutputConfig(output_dataset_id=DATASET, output_table_name=name)

    class StopError(Exception):
        pass

    def stop(share: float) -> None:
        if share > 0.3:
            raise StopError

    with pytest.raises(StopError):
        TableOutput(config, out, "hcpe").load(parts, "hcpe-convert.json", stop)
    (staging,) = [table for table in tables(bigquery) if table.startswith(name)]
    assert staging != name, "all or nothing: there is no table yet"
    assert 0 < bigquery.client().get_table(f"{DATASET}.{staging}").num_rows < len(rows)
    bigquery.proxy.reset()
    assert convert(out, "--shard-rows", "300", *table_flags(name)) == 0
    sent = [one for one in bigquery.proxy.requests if "upload" in one.path]
    assert 0 < len({one.path for one in sent if one.method == "POST"}) <= len(parts)
    assert in_order(all_rows(opened(name, tmp_path / "cache"))) == in_order(rows)
    assert [table for table in tables(bigquery) if table.startswith(name)] == [name]


@pytest.mark.parametrize("kind", ["lost", "reset"])
def test_answers_that_are_lost_load_nothing_twice(bigquery, tmp_path, kind):
    out = tmp_path / "out"
    assert convert(out) == 0
    rows = all_rows(open_local_shards(out))
    shards = json.loads((out / "hcpe-convert.json").read_text())["shards"]
    parts = [Part(shard["name"], shard["rows"], "") for shard in shards]
    # Requests that change something: the staging table, the upload, its copy, the end.
    for at in range(4):
        name = f"{tmp_path.name}_{at}"
        config = TableOutputConfig(output_dataset_id=DATASET, output_table_name=name)
        bigquery.proxy.reset()
        bigquery.proxy.on_write = [*([Fault()] * at), Fault(kind=kind)]
        loaded = TableOutput(config, out, "hcpe", QUICK).load(
            parts, "hcpe-convert.json"
        )
        assert loaded.rows == len(rows)
        assert not bigquery.proxy.on_write
        bigquery.proxy.reset()
        table = bigquery.client().get_table(f"{DATASET}.{name}")
        assert table.num_rows == len(rows)


def test_a_table_with_other_rows_is_refused_before_the_work(bigquery, tmp_path, capsys):
    name = tmp_path.name
    assert convert(tmp_path / "first", *table_flags(name)) == 0
    assert convert(tmp_path / "second", *table_flags(name)) == 2
    assert f"{DATASET}.{name}: has rows already" in capsys.readouterr().err
    assert not (tmp_path / "second").exists()


def test_a_view_is_refused_before_the_work(bigquery, tmp_path, capsys):
    from google.cloud.bigquery import Table

    view = Table(f"test-project.{DATASET}.{tmp_path.name}")
    view.view_query = "SELECT 1"
    bigquery.client().create_table(view)
    assert convert(tmp_path / "out", *table_flags(tmp_path.name)) == 2
    assert f"{DATASET}.{tmp_path.name}: is a view" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_missing_data_set_is_named(bigquery, tmp_path, capsys):
    flags = ["--output-dataset-id", "nowhere", "--output-table-name", "t"]
    assert convert(tmp_path / "out", *flags) == 1
    assert "there is no such data set" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--output-dataset-id", "d"], "--output-dataset-id also needs --output-table"),
        (["--output-table-name", "t"], "--output-table-name also needs --output-data"),
        ([*table_flags("a`b")], "--output-table-name 'a`b' is not a table"),
        (
            [*table_flags("t"), "--output-format", "hcpe"],
            "--output-format hcpe does not",
        ),
    ],
)
def test_flags_that_cannot_be_meant(tmp_path, monkeypatch, capsys, flags, said):
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", "http://127.0.0.1:1")
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p")
    assert convert(tmp_path / "out", *flags) == 2
    assert said in capsys.readouterr().err


def test_without_the_extra_the_error_says_how_to_install_it(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "google.cloud", None)
    assert convert(tmp_path / "out", *table_flags("t")) == 2
    said = capsys.readouterr().err
    assert "--output-dataset-id: needs the extra gcp" in said
    assert "pip install 'maou[gcp]'" in said
