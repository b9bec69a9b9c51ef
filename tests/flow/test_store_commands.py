"""The data commands on real object stores: what they leave is what a folder gives."""

import gc
import json
from pathlib import Path

import pytest

from cloud_stores import BUCKET
from maou.cli.main import run
from maou.convert.config import HcpeConvertConfig
from maou.convert.config_preprocess import PreProcessConfig
from maou.convert.hcpe import convert_games
from maou.convert.preprocess import pre_process

DATA = Path(__file__).parents[1] / "data"
GAMES = ("games/selfplay.csa", "unusual/bad_030.kifu", "unusual/bad_001.csa")


class StopError(Exception):
    """Ends a command where a kill would."""


@pytest.fixture
def place(store, tmp_path) -> Path:
    """A local folder to fill and to upload with `flags`."""
    (tmp_path / "local").mkdir()
    return tmp_path / "local"


@pytest.fixture
def hcpe(place, selfplay_rows) -> Path:
    """Three shards of raw hcpe records, one of them in a folder of its own."""
    (place / "b").mkdir()
    for number, name in enumerate(("z.hcpe", "b/2.hcpe", "b/10.hcpe")):
        part = selfplay_rows[1000 * number : 1000 * (number + 1)]
        (place / name).write_bytes(part.tobytes())
    return place


def _flags(store, folder: Path, tmp_path: Path, cache: str = "cache") -> list[str]:
    """Upload a folder; give the flags that name it."""
    store.upload(folder, tmp_path.name)
    return [
        *(f"--input-{store.provider}", "--input-bucket-name", BUCKET),
        *("--input-prefix", "sets", "--input-data-name", tmp_path.name),
        *("--input-local-cache-dir", str(tmp_path / cache)),
    ]


def _settings(store, tmp_path: Path, cache: str) -> dict[str, object]:
    return {
        f"input_{store.provider}": True,
        "input_bucket_name": BUCKET,
        "input_prefix": "sets",
        "input_data_name": tmp_path.name,
        "input_local_cache_dir": tmp_path / cache,
    }


def _url(store, tmp_path: Path) -> str:
    scheme = {"gcs": "gs", "s3": "s3"}[store.provider]
    return f"{scheme}://{BUCKET}/sets/{tmp_path.name}"


def _contents(folder: Path) -> dict[str, bytes]:
    """What a command leaves, but for its notes on the input."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in {"hcpe-convert.json", "pre-process.json"}
    }


def _runs(*words: object) -> None:
    assert run([str(word) for word in words]) == 0
    gc.collect()  # boards of rsshogi may not be freed by the servers' threads


def test_games_are_converted_alike(store, place, tmp_path, capfd):
    for name in GAMES:
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_bytes((DATA / name).read_bytes())
    (place / "notes.txt").write_text("no game")
    flags = _flags(store, place, tmp_path)
    base = ("hcpe-convert", "--workers", "0", "--shard-rows", "500")
    _runs(*base, "--input-path", place, "--output-dir", tmp_path / "here")
    _runs(*base, *flags, "--output-dir", tmp_path / "there")
    here, there = _contents(tmp_path / "here"), _contents(tmp_path / "there")
    assert here == there
    assert len(here) == 5, "four shards and rejects.tsv"
    assert b"unusual/bad_001.csa\t" in here["rejects.tsv"]
    _runs(*base, *flags, "--output-dir", tmp_path / "there")
    assert "Nothing was left to do" in capfd.readouterr().out

    def stop(report) -> None:
        if report.progress.shards:
            raise StopError

    given = {"output_dir": tmp_path / "stopped", "workers": 0, "shard_rows": 500}
    config = HcpeConvertConfig(**_settings(store, tmp_path, "cache"), **given)
    with pytest.raises(StopError):
        convert_games(config, stop)
    gc.collect()
    config = HcpeConvertConfig(**_settings(store, tmp_path, "another"), **given)
    assert convert_games(config).resumed
    gc.collect()
    assert _contents(tmp_path / "stopped") == here
    store.put(f"sets/{tmp_path.name}/{GAMES[1]}", b"x")
    assert run([*base, *flags, "--output-dir", str(tmp_path / "there")]) == 2
    assert "game files were written to or renamed" in capfd.readouterr().err


def test_one_game_file_has_any_name(store, place, tmp_path):
    (place / "game").write_bytes((DATA / GAMES[0]).read_bytes())
    flags = _flags(store, place, tmp_path)
    flags[flags.index(tmp_path.name)] += "/game"
    base = ("hcpe-convert", "--workers", "0", "--output-format", "npy")
    _runs(*base, *flags, "--output-dir", tmp_path / "there")
    _runs(*base, "--input-path", place / "game", "--output-dir", tmp_path / "here")
    assert _contents(tmp_path / "there") == _contents(tmp_path / "here")


def test_positions_are_aggregated_alike(store, hcpe, tmp_path, capfd):
    flags = _flags(store, hcpe, tmp_path)
    base = ("pre-process", "--workers", "1", "--shard-rows", "1000", "--exclude")
    base = (*base, DATA / "selfplay-256.hcpe")
    _runs(*base, "--input-path", hcpe, "--output-dir", tmp_path / "here")
    _runs(*base, *flags, "--output-dir", tmp_path / "there")
    here = _contents(tmp_path / "here")
    assert here == _contents(tmp_path / "there")
    _runs(*base, *flags, "--output-dir", tmp_path / "there")
    said = capfd.readouterr()
    assert "Nothing was left to do" in said.out
    assert "3 objects, 0 fetched (0.0 MB), the others cached" in said.err

    def stop(report) -> None:
        if report.phase == "merge":
            raise StopError

    given = {
        "output_dir": tmp_path / "stopped",
        "workers": 1,
        "shard_rows": 1000,
        "exclude": (DATA / "selfplay-256.hcpe",),
    }
    config = PreProcessConfig(**_settings(store, tmp_path, "cache"), **given)
    with pytest.raises(StopError):
        pre_process(config, stop)
    config = PreProcessConfig(**_settings(store, tmp_path, "another"), **given)
    assert pre_process(config).resumed
    assert _contents(tmp_path / "stopped") == here
    store.put(f"sets/{tmp_path.name}/z.hcpe", (hcpe / "z.hcpe").read_bytes()[:-38])
    words = [str(word) for word in base]
    assert run([*words, *flags, "--output-dir", str(tmp_path / "there")]) == 2
    says = f"the shards of --input-{store.provider} have changed"
    assert says in capfd.readouterr().err


def test_checks_and_stage_2_data_are_alike(store, hcpe, tmp_path, capfd):
    flags = _flags(store, hcpe, tmp_path)
    stage2 = ("utility", "generate-stage2-data", "--workers", "0")
    _runs(*stage2, "--input-path", hcpe, "--output-dir", tmp_path / "here")
    _runs(*stage2, *flags, "--output-dir", tmp_path / "there")
    assert _contents(tmp_path / "here") == _contents(tmp_path / "there")
    capfd.readouterr()
    (hcpe / "bad.hcpe").write_bytes(b"\xff" * 38)
    flags = _flags(store, hcpe, tmp_path)
    reports = []
    for given in ([str(hcpe)], flags):
        assert run(["utility", "check-data", *given, "--json", "-"]) == 1
        reports.append(json.loads(capfd.readouterr().out))
    assert reports[0].pop("path") == str(hcpe)
    assert reports[1].pop("path") == _url(store, tmp_path)
    assert reports[0] == reports[1]
    assert reports[1]["examples"][0]["file"] == "bad.hcpe"


TINY = ("--gpu", "cpu", "--resnet-blocks", "1", "--resnet-channels", "8", "--epoch")
TINY += ("1", "--batch-size", "200", "--no-export-onnx")


def _learn(tmp_path: Path, *words: object) -> Path:
    """Train; give the folder of the run."""
    before = set((tmp_path / "models").glob("*"))
    places = ("--model-dir", tmp_path / "models", "--log-dir", tmp_path / "logs")
    _runs("learn-model", *TINY, *places, *words)
    (made,) = set((tmp_path / "models").glob("*")) - before
    return made


@pytest.mark.parametrize("cloud_server", ["s3"], indirect=True)
def test_a_model_is_measured_alike(store, hcpe, tmp_path, capfd):
    flags = _flags(store, hcpe, tmp_path)
    model = _learn(tmp_path, *flags)
    capfd.readouterr()
    found = []
    for given in (("--input-path", hcpe), flags):
        base = ("evaluate", "--model", model, "--gpu", "cpu", "--split", "validation")
        _runs(*base, *given, "--json", "-")
        found.append(json.loads(capfd.readouterr().out))
    assert found[0] == found[1]
    assert found[0]["metrics"]["rows"] == 1000
    _runs(*base, *flags)
    assert f"of {_url(store, tmp_path)}" in capfd.readouterr().out


@pytest.mark.parametrize("cloud_server", ["gcs"], indirect=True)
def test_speeds_are_measured_of_a_store(store, hcpe, tmp_path, capfd):
    flags = _flags(store, hcpe, tmp_path)
    loader = ("utility", "benchmark-dataloader", "--workers", "0", "--seconds", "0.01")
    _runs(*loader, *flags, "--json", "-")
    said = capfd.readouterr()
    assert len(json.loads(said.out)) >= 3
    assert f"{_url(store, tmp_path)}/: 3 objects, 3 fetched" in said.err
    training = ("utility", "benchmark-training", "--batches", "2", "--warm-up", "1")
    small = [word for word in TINY if word != "--no-export-onnx"]
    _runs(*training, *small, *flags, "--json", "-")
    said = capfd.readouterr()
    assert json.loads(said.out)["cases"][0]["rows_per_second"] > 0
    assert "fetched" not in said.err, "the cache has them"


def test_messages_name_the_object(store, hcpe, tmp_path, selfplay_path, capfd):
    """A damaged row, found late: no message shows where the cache has the object."""
    rows = bytearray(selfplay_path.read_bytes()[: 38 * 40])
    rows[38 * 20 : 38 * 20 + 32] = b"\xff" * 32
    (hcpe / "b" / "10.hcpe").write_bytes(rows)
    flags = _flags(store, hcpe, tmp_path)
    out = ["--output-dir", str(tmp_path / "out")]
    for words in (
        ["pre-process", "--workers", "1", *out],
        ["utility", "generate-stage2-data", "--workers", "0", *out],
        ["learn-model", *TINY, "--test-ratio", "0.4", "--no-streaming"],
    ):
        assert run([*words, *flags]) == 2
        said = capfd.readouterr().err
        assert f"Error: {_url(store, tmp_path)}/b/10.hcpe: row 20" in said
        assert str(tmp_path / "cache" / "objects") not in said
    (hcpe / "b" / "10.hcpe").write_bytes(rows[:-1])
    flags = _flags(store, hcpe, tmp_path)
    assert run(["utility", "check-data", *flags]) == 2
    said = capfd.readouterr().err
    assert f"Error: {_url(store, tmp_path)}/b/10.hcpe: " in said
    assert str(tmp_path / "cache" / "objects") not in said


@pytest.mark.parametrize("cloud_server", ["s3"], indirect=True)
def test_stage_3_of_a_staged_run_reads_the_store(store, hcpe, tmp_path):
    made, cases = tmp_path / "preprocess", tmp_path / "cases"
    _runs("pre-process", "--workers", "1", "--input-path", hcpe, "--output-dir", made)
    _runs("utility", "generate-stage1-data", "--output-dir", cases)
    moves = ("utility", "generate-stage2-data", "--workers", "0", "--input-path")
    _runs(*moves, hcpe / "z.hcpe", "--output-dir", tmp_path / "moves")
    early = ("--stage1-data-path", cases, "--stage2-data-path", tmp_path / "moves")
    early += ("--stage1-threshold", "0.01", "--stage1-max-epochs", "1")
    early += ("--stage2-threshold", "1e-9", "--stage2-max-epochs", "1")
    early += ("--stage2-batch-size", "20", "--stage2-learning-rate", "0.1")
    flags = (*_flags(store, made, tmp_path), "--input-file-packed")
    local = ("--stage3-data-path", made, "--input-file-packed")
    _runs("learn-model", *TINY, "--stage", "3", *flags, "--dry-run")
    weights = [
        (_learn(tmp_path, "--stage", "all", *early, *given) / "last").joinpath(
            "model.safetensors"
        )
        for given in (local, flags)
    ]
    assert weights[0].read_bytes() == weights[1].read_bytes()
