"""Folders of stage and preprocess shards, and messages that name the flag."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from maou.convert.stage1 import stage1_cases
from maou.data.pipeline import open_data
from maou.errors import ConfigError, DataError
from maou.sources.config import SourceConfig, StageSourceConfig
from maou.sources.local import open_preprocess_shards, open_stage_shards
from shard_files import table_of, write_feather, write_npy, write_raw
from stage_files import unpacked

FLAG = "--stage1-data-path"


def test_a_folder_of_both_forms_is_a_source(tmp_path: Path) -> None:
    cases = stage1_cases()
    np.save(tmp_path / "b.npy", cases[:500])
    np.save(tmp_path / "a.npy", unpacked(cases[500:], 1))
    (tmp_path / "notes.txt").write_text("about")
    shards = open_stage_shards(tmp_path, 1, FLAG)
    assert [shards.name(i) for i in range(2)] == ["a.npy", "b.npy"]
    assert shards.rows == len(cases)
    assert [path.name for path in shards.ignored] == ["notes.txt"]
    first = shards.fingerprint()
    np.save(tmp_path / "a.npy", cases[500:])
    assert open_stage_shards(tmp_path, 1, FLAG).fingerprint() == first
    np.save(tmp_path / "a.npy", cases[500:-1])
    assert open_stage_shards(tmp_path, 1, FLAG).fingerprint() != first


def test_the_flag_is_named_with_the_remedy(
    tmp_path: Path, selfplay_rows: npt.NDArray[np.uint8]
) -> None:
    with pytest.raises(DataError, match=f"{FLAG} {tmp_path / 'x'}: no such file"):
        open_stage_shards(tmp_path / "x", 1, FLAG)
    with pytest.raises(DataError, match=f"{FLAG} {tmp_path}: no shards here"):
        open_stage_shards(tmp_path, 1, FLAG)
    write_raw(tmp_path / "a.hcpe", selfplay_rows[:9])
    with pytest.raises(DataError) as caught:
        open_stage_shards(tmp_path, 1, FLAG)
    assert str(caught.value) == (
        f"{FLAG} {tmp_path}: holds no stage 1 records; make them with maou utility "
        "generate-stage1-data"
    )
    with pytest.raises(DataError, match=f"{FLAG} {tmp_path / 'a.hcpe'}: holds hcpe"):
        open_stage_shards(tmp_path / "a.hcpe", 1, FLAG)


@pytest.mark.parametrize("suffix", [".hcpe", ".npy", ".feather"])
def test_hcpe_given_as_preprocess_names_the_command(
    tmp_path: Path, selfplay_rows: npt.NDArray[np.uint8], suffix: str
) -> None:
    path, rows = tmp_path / f"a{suffix}", selfplay_rows[:9]
    if suffix == ".feather":
        write_feather(path, table_of(rows))
    else:
        (write_raw if suffix == ".hcpe" else write_npy)(path, rows)
    for given in (tmp_path, path):
        with pytest.raises(DataError) as caught:
            open_preprocess_shards(given, True, "--stage3-data-path")
        named = path if suffix != ".hcpe" else given
        assert str(caught.value) == (
            f"--stage3-data-path {named}: holds hcpe records; make preprocess records "
            "of them with maou pre-process"
        )


def test_a_source_without_a_path_opens_nothing() -> None:
    with pytest.raises(ConfigError, match="--input-path: is required"):
        open_data(SourceConfig())
    assert StageSourceConfig().stage1_data_path is None
