"""Damaged shards through the real command line: exit 2, one line, nothing begun."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from maou.cli.main import run
from maou.data.config import DataConfig
from maou.data.pipeline import prepare_data
from maou.sources.local import open_local_shards
from shard_files import RAW, table_of, write_feather, write_npy, write_raw

Rows = npt.NDArray[np.uint8]
TINY = (
    *("--resnet-blocks", "1", "--resnet-channels", "8", "--gpu", "cpu"),
    *("--epoch", "1", "--batch-size", "64"),
)


def learn(data: Path, work: Path, *more: str) -> int:
    folders = ("--model-dir", str(work / "models"), "--log-dir", str(work / "logs"))
    return run(["learn-model", "--input-path", str(data), *folders, *TINY, *more])


def error_line(capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one `Error:` line, which is the last of stderr."""
    lines = capsys.readouterr().err.rstrip("\n").split("\n")
    assert "Traceback" not in "".join(lines)
    assert [line for line in lines if line.startswith("Error: ")] == lines[-1:]
    return lines[-1]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def of_floats(path: Path) -> None:
    np.save(path, np.zeros(40))


def of_objects(path: Path) -> None:
    np.save(path, np.array([{}, {}]), allow_pickle=True)


def of_wide_eval(path: Path) -> None:
    kinds = [(n, "<i4" if n == "eval" else RAW[n]) for n in RAW.names or ()]
    np.save(path, np.zeros(5, dtype=kinds))


def of_no_rows(path: Path) -> None:
    np.save(path, np.zeros(0, dtype=RAW))


def of_preprocess(path: Path) -> None:
    np.save(path, np.zeros(3, dtype=[("id", "<u8"), ("moveLabel", "<f2", (1496,))]))


def of_text(path: Path) -> None:
    path.write_text("V2.2\nN+Black\n")


def lacking_a_column(path: Path) -> None:
    table = table_of(np.zeros((4, 38), dtype=np.uint8)).drop_columns(["bestMove16"])
    write_feather(path, table)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def broken_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("gone")


HEADER_FAULTS: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "raw cut": ("2.hcpe", cut, "is cut"),
    "raw empty": ("2.hcpe", emptied, "holds no records"),
    "npy cut": ("0.npy", cut, "truncated"),
    "npy floats": ("0.npy", of_floats, "plain float64"),
    "npy objects": ("0.npy", of_objects, "Python objects"),
    "npy wrong dtype": ("0.npy", of_wide_eval, "eval is int32, not int16"),
    "npy no rows": ("0.npy", of_no_rows, "holds no records"),
    "npy preprocess": ("0.npy", of_preprocess, "preprocess"),
    "npy text": ("0.npy", of_text, "not a readable .npy"),
    "feather cut": ("1.feather", cut, "not a readable feather"),
    "feather column": ("1.feather", lacking_a_column, "missing bestMove16"),
    "feather empty": ("1.feather", emptied, "not a readable feather"),
    "link": ("1.feather", broken_link, "a symbolic link"),
}


@pytest.fixture
def shards(tmp_path: Path, selfplay_rows: Rows) -> Path:
    """Four small shards, one a container and one more."""
    folder = tmp_path / "shards"
    folder.mkdir()
    write_npy(folder / "0.npy", selfplay_rows[:300])
    write_feather(folder / "1.feather", table_of(selfplay_rows[300:600]), (100,))
    write_raw(folder / "2.hcpe", selfplay_rows[600:900])
    write_raw(folder / "3.hcpe", selfplay_rows[900:1200])
    return folder


@pytest.mark.parametrize("fault", HEADER_FAULTS)
def test_what_a_header_shows_ends_the_run_before_it_writes_anything(
    fault: str, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, damage, message = HEADER_FAULTS[fault]
    damage(shards / name)
    assert learn(shards, tmp_path) == 2
    line = error_line(capsys)
    assert str(shards / name) in line
    assert message in line
    assert [entry.name for entry in tmp_path.iterdir()] == ["shards"]


@pytest.mark.parametrize("name", ["missing", "empty", "other"])
def test_no_shards_at_all(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if name != "missing":
        (tmp_path / name).mkdir()
    if name == "other":
        (tmp_path / name / "game.csa").write_text("V2.2")
    assert learn(tmp_path / name, tmp_path) == 2
    assert f"--input-path {tmp_path / name}: " in error_line(capsys)
    assert not (tmp_path / "models").exists()
    assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize("mode", ["--streaming", "--no-streaming"])
@pytest.mark.parametrize("validation", [False, True])
def test_a_damaged_row_ends_the_run_when_it_is_met(
    mode: str,
    validation: bool,
    shards: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Row 17 of a shard of either side: named by file and row, exit code 2."""
    data = prepare_data(open_local_shards(shards), DataConfig())
    side = data.validation if validation else data.training
    path = data.shards.shards[side.block(0).shard].path
    rows = data.shards.shards[side.block(0).shard].read(0, 300).copy()
    rows[17, 34:36] = 0xFF
    writers = {
        ".hcpe": write_raw,
        ".npy": write_npy,
        ".feather": lambda to, made: write_feather(to, table_of(made), (100,)),
    }
    writers[path.suffix](path, rows)
    after = prepare_data(open_local_shards(shards), DataConfig())
    same_side = after.validation if validation else after.training
    assert side.bounds.tolist() == same_side.bounds.tolist()

    assert learn(shards, tmp_path, mode) == 2
    line = error_line(capsys)
    assert line == f"Error: {path}: row 17: bestMove16 is not a move of any piece"


def test_damage_that_only_reading_a_record_batch_shows(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A good header and a flipped byte in the body of each record batch."""
    path = shards / "1.feather"
    data = bytearray(path.read_bytes())
    for place in range(len(data) // 4, len(data) // 2, 40):
        data[place] ^= 0x55
    path.write_bytes(data)
    assert learn(shards, tmp_path) == 2
    assert f" {path}: " in error_line(capsys)


def test_one_game_cannot_be_split(
    tmp_path: Path,
    selfplay_rows: Rows,
    selfplay_games: npt.NDArray[np.int64],
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "one.hcpe"
    write_raw(path, selfplay_rows[: selfplay_games[0]])
    assert learn(path, tmp_path) == 2
    line = error_line(capsys)
    assert str(path) in line
    assert "give more games" in line
    assert [entry.name for entry in tmp_path.iterdir()] == ["one.hcpe"]


def test_evaluate_refuses_damaged_shards_too(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert learn(shards, tmp_path, "--no-export-onnx") == 0
    capsys.readouterr()
    model = next((tmp_path / "models").iterdir())
    cut(shards / "2.hcpe")
    arguments = ["--model", str(model), "--input-path", str(shards), "--gpu", "cpu"]
    assert run(["evaluate", *arguments]) == 2
    assert str(shards / "2.hcpe") in error_line(capsys)
