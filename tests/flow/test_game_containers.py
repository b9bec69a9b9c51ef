"""The commands on hcpe3 games and packed sfen values: as on the same raw records."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from game_shards import expected_rows, hcpe3_bytes, psv_of, random_games
from maou.cli.main import run

Rows = npt.NDArray[np.uint8]
FORMS = ("hcpe3", "psv", "bin")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of the same rows in four containers, one file each."""
    games = random_games(60, 80, 12)
    rows, _ = expected_rows(games)
    values = psv_of(rows).tobytes()
    contents = {
        "hcpe": rows.tobytes(),
        "hcpe3": hcpe3_bytes(games),
        "psv": values,
        "bin": values,
    }
    folders = {}
    for suffix, data in contents.items():
        folders[suffix] = tmp_path_factory.mktemp(suffix)
        (folders[suffix] / f"games.{suffix}").write_bytes(data)
    return folders


def report_of(folder: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert run(["utility", "check-data", str(folder), "--json", "-"]) == 0
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    del report["path"]
    return report


@pytest.mark.parametrize("form", FORMS)
def test_check_data_sees_the_same_rows(
    form: str, shards: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    made = report_of(shards[form], capsys)
    expected = report_of(shards["hcpe"], capsys)
    games = made["games"]
    assert games["ids"] == ("present" if form == "hcpe3" else "missing")
    if form == "hcpe3":
        assert games["games"] == 60
        made["games"] = expected["games"]
    assert made == expected


@pytest.mark.parametrize("form", FORMS)
def test_stage_2_data_is_the_same(
    form: str, shards: dict[str, Path], tmp_path: Path
) -> None:
    made = {}
    for name in (form, "hcpe"):
        command = ["utility", "generate-stage2-data", "--input-path", shards[name]]
        assert run([*map(str, command), "--output-dir", str(tmp_path / name)]) == 0
        files = sorted((tmp_path / name).glob("*.npy"))
        made[name] = [file.read_bytes() for file in files]
    assert made[form] == made["hcpe"] != []


@pytest.mark.parametrize("form", FORMS)
def test_pre_process_adds_up_the_same_positions(
    form: str, shards: dict[str, Path], tmp_path: Path
) -> None:
    reports = {}
    for name in (form, "hcpe"):
        out = tmp_path / name
        command = ["pre-process", "--input-path", shards[name], "--output-dir", out]
        assert run([*map(str, command), "--workers", "1"]) == 0
        reports[name] = json.loads((out / "pre-process.json").read_text())
    assert sum(reports[form]["rows"]) == sum(reports["hcpe"]["rows"])
    assert reports[form]["unit"] == ("game" if form == "hcpe3" else "run")
    if form != "hcpe3":
        assert reports[form]["rows"] == reports["hcpe"]["rows"]
        assert reports[form]["positions"] == reports["hcpe"]["positions"]


@pytest.mark.parametrize("form", FORMS)
def test_a_folder_of_them_trains(
    form: str,
    shards: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = ["--input-path", str(shards[form])]
    small = ["--resnet-blocks", "1", "--resnet-channels", "8", "--gpu", "cpu"]
    small += ["--no-export-onnx"]
    folders = ["--log-dir", str(tmp_path / "logs"), "--model-dir", str(tmp_path / "m")]
    assert run(["learn-model", *source, "--epoch", "1", *small, *folders]) == 0
    said = capsys.readouterr().err
    assert f"{len(expected_rows(random_games(60, 80, 12))[0]):,} positions" in said
    (model,) = (tmp_path / "m").iterdir()
    assert run(["evaluate", "--model", str(model), *source, "--gpu", "cpu"]) == 0
    quick = ["--seconds", "0.05", "--workers", "0", "--batch-size", "64"]
    assert run(["utility", "benchmark-dataloader", *source, *quick]) == 0


@pytest.mark.parametrize("form", ["hcpe3", "psv"])
def test_where_preprocess_records_belong_the_remedy_is_named(
    form: str, shards: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    source = ["--input-path", str(shards[form]), "--input-format", "preprocess"]
    assert run(["learn-model", *source, "--epoch", "1"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "make preprocess records of them with maou pre-process" in said
