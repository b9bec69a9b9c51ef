"""Stage shards: both forms, and files of other kinds refused with what to do."""

import itertools
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from maou.convert.stage1 import stage1_cases
from maou.errors import DataError
from maou.records.preprocess import dense_rows
from maou.records.preprocess_containers import kind_of_file, open_preprocess_shard
from maou.records.stage_shards import STAGES, StageShard
from maou.records.stages import STAGE1_UNPACKED, STAGE2_UNPACKED
from preprocess_blocks import made_block
from shard_files import table_of, write_feather, write_npy, write_raw
from stage_files import Records, stage2_records, unpacked

Rows = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def by_stage(
    selfplay_rows: Rows, tmp_path_factory: pytest.TempPathFactory
) -> dict[int, Records]:
    folder = tmp_path_factory.mktemp("rows")
    return {1: stage1_cases(), 2: stage2_records(selfplay_rows[:400], folder)}


@pytest.mark.parametrize("stage", [1, 2])
def test_both_forms_give_the_packed_records(
    by_stage: dict[int, Records], tmp_path: Path, stage: int
) -> None:
    records = by_stage[stage]
    forms = {"packed.npy": records, "unpacked.npy": unpacked(records, stage)}
    assert forms["unpacked.npy"].dtype == [STAGE1_UNPACKED, STAGE2_UNPACKED][stage - 1]
    for name, form in forms.items():
        np.save(tmp_path / name, form)
        assert kind_of_file(tmp_path / name) == f"stage{stage}"
        shard = StageShard(tmp_path / name, stage)
        assert (shard.rows, shard.stage, shard.has_ids) == (len(records), stage, False)
        bounds = shard.block_bounds(100)
        parts = [shard.read(a, b) for a, b in itertools.pairwise(bounds.tolist())]
        assert all(part.dtype == STAGES[stage].packed for part in parts)
        assert b"".join(part.tobytes() for part in parts) == records.tobytes()
        ids = np.concatenate(list(shard.ids()))
        assert np.array_equal(ids, records["id"])


@pytest.fixture
def others(selfplay_rows: Rows, by_stage: dict[int, Records], tmp_path: Path) -> Path:
    rows = selfplay_rows[:50]
    write_raw(tmp_path / "raw.hcpe", rows)
    write_npy(tmp_path / "hcpe.npy", rows)
    write_feather(tmp_path / "hcpe.feather", table_of(rows))
    np.save(tmp_path / "dense.npy", dense_rows(made_block(rows)))
    np.save(tmp_path / "plain.npy", np.zeros(3))
    for stage in (1, 2):
        np.save(tmp_path / f"{stage}.npy", by_stage[stage])
    return tmp_path


HELD = {
    "raw.hcpe": "hcpe records",
    "hcpe.npy": "hcpe records",
    "hcpe.feather": "hcpe records",
    "dense.npy": "dense preprocess records",
    "plain.npy": "something else",
    "1.npy": "stage 1 records",
    "2.npy": "stage 2 records",
}


@pytest.mark.parametrize("stage", [1, 2])
@pytest.mark.parametrize("name", HELD)
def test_other_kinds_are_refused_by_name(others: Path, name: str, stage: int) -> None:
    if name == f"{stage}.npy":
        assert StageShard(others / name, stage).rows
        return
    with pytest.raises(DataError) as caught:
        StageShard(others / name, stage)
    message = str(caught.value)
    assert message.startswith(
        f"{others / name}: holds {HELD[name]}, not stage {stage} records; make them "
    )
    assert message.endswith(f"maou utility generate-stage{stage}-data")


def test_feather_is_not_a_container_of_stage_records(tmp_path: Path) -> None:
    table = pa.table({"id": [1], "reachableSquares": [b"x"]})
    write_feather(tmp_path / "a.feather", table)
    with pytest.raises(DataError, match=r"stage 1 records are read from \.npy"):
        StageShard(tmp_path / "a.feather", 1)


@pytest.mark.parametrize("packed", [True, False])
def test_preprocess_shards_refuse_hcpe_and_stage_files(
    others: Path, packed: bool
) -> None:
    for name in ("raw.hcpe", "hcpe.npy", "hcpe.feather"):
        with pytest.raises(DataError) as caught:
            open_preprocess_shard(others / name, packed)
        assert str(caught.value) == (
            f"{others / name}: holds hcpe records; make preprocess records of them "
            "with maou pre-process"
        )
    with pytest.raises(DataError, match="holds stage 2 records, not preprocess ones"):
        open_preprocess_shard(others / "2.npy", packed)
