"""Stage records as training rows: targets, batches, mirroring, split, workers."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from maou.convert.stage1 import stage1_cases
from maou.data.batch import FlagBatch
from maou.data.config import DataConfig
from maou.data.pipeline import TrainingData, prepare_stage_data
from maou.data.stage_rows import STAGE_ROWS
from maou.shogi.labels import MIRROR_LABEL
from maou.shogi.squares import MIRROR_BOARD
from maou.sources.local import open_stage_shards
from stage_files import Records, flags_of, stage2_records

MIRRORS: dict[int, npt.NDArray[Any]] = {1: MIRROR_BOARD, 2: MIRROR_LABEL}


@pytest.fixture(scope="module")
def by_stage(
    selfplay_rows: npt.NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory
) -> dict[int, Records]:
    folder = tmp_path_factory.mktemp("rows")
    return {1: stage1_cases(), 2: stage2_records(selfplay_rows[:3000], folder)}


def identities(batch: FlagBatch) -> list[bytes]:
    """Return what each row of a batch is, targets included."""
    flags = batch.flags_BK().numpy().astype(np.uint8)
    parts = (batch.board_BS.numpy(), batch.hand_BH.numpy(), flags)
    return [row.tobytes() for row in np.concatenate(parts, axis=1)]


@pytest.mark.parametrize("stage", [1, 2])
def test_a_batch_has_the_positions_and_targets_of_its_rows(
    by_stage: dict[int, Records], stage: int
) -> None:
    rows, kind = by_stage[stage], STAGE_ROWS[stage]
    index = np.random.default_rng(1).permutation(len(rows))[:50]
    batch = kind.encode(rows, index, str)
    assert len(batch) == 50
    assert batch.buffer.numel() == 50 * (81 + 14 + {1: 11, 2: 187}[stage])
    boards = rows["boardIdPositions"][index].reshape(50, 81)
    assert np.array_equal(batch.board_BS.numpy(), boards)
    assert np.array_equal(batch.hand_BH.numpy(), rows["piecesInHand"][index])
    flags = batch.flags_BK()
    assert flags.dtype == torch.float32
    assert flags.is_contiguous()
    assert np.array_equal(flags.numpy(), flags_of(rows[index], stage))
    assert torch.equal(batch.to(torch.device("cpu")).flags_BK(), flags)


@pytest.mark.parametrize("stage", [1, 2])
def test_take_join_and_arrays_are_those_of_the_records(
    by_stage: dict[int, Records], stage: int
) -> None:
    rows, kind = by_stage[stage], STAGE_ROWS[stage]
    index = np.array([7, 7, 0, 99, 3])
    taken = kind.take(rows, index)
    assert taken.tobytes() == rows[index].tobytes()
    assert taken.dtype == rows.dtype
    joined = kind.join([taken, rows[:4]])
    assert joined.tobytes() == taken.tobytes() + rows[:4].tobytes()
    again = kind.from_arrays(kind.arrays(joined))
    assert again.dtype == rows.dtype
    assert again.tobytes() == joined.tobytes()
    assert len(kind.take(rows, index[:0])) == 0


@pytest.mark.parametrize("stage", [1, 2])
def test_only_the_chosen_rows_are_mirrored_flag_by_flag(
    by_stage: dict[int, Records], stage: int
) -> None:
    rows = by_stage[stage][:900]
    before = rows.tobytes()
    chosen = np.arange(len(rows)) % 3 == 0
    batch = STAGE_ROWS[stage].encode(rows, np.arange(len(rows)), str, chosen)
    flags, mirror = flags_of(rows, stage), MIRRORS[stage]
    expected = flags.copy()
    for k in range(flags.shape[1]):
        expected[chosen, mirror[k]] = flags[chosen, k]
    assert np.array_equal(batch.flags_BK().numpy(), expected)
    boards = rows["boardIdPositions"].copy()
    boards[chosen] = boards[chosen][:, :, ::-1]
    assert np.array_equal(batch.board_BS.numpy(), boards.reshape(-1, 81))
    assert np.array_equal(batch.hand_BH.numpy(), rows["piecesInHand"])
    assert rows.tobytes() == before, "the rows themselves stay"


def test_the_mirrored_cases_of_stage_1_are_the_cases(
    by_stage: dict[int, Records],
) -> None:
    rows = by_stage[1]
    index, every = np.arange(len(rows)), np.ones(len(rows), dtype=np.bool_)
    plain = STAGE_ROWS[1].encode(rows, index, str)
    mirrored = STAGE_ROWS[1].encode(rows, index, str, every)
    assert identities(plain) != identities(mirrored)
    assert sorted(identities(plain)) == sorted(identities(mirrored))


def prepared(
    records: Records, folder: Path, cuts: int, **settings: Any
) -> TrainingData:
    """Write records as several shards and prepare stage 2 on them."""
    folder.mkdir(exist_ok=True)
    for number, part in enumerate(np.array_split(records, cuts)):
        np.save(folder / f"{number}.npy", part)
    shards = open_stage_shards(folder, 2, "--stage2-data-path")
    return prepare_stage_data(shards, 2, DataConfig(batch_size=128, **settings))


def all_of(batches: Any) -> list[bytes]:
    return list(itertools.chain.from_iterable(map(identities, batches)))


def test_without_a_ratio_all_rows_are_trained_and_measured(
    by_stage: dict[int, Records], tmp_path: Path
) -> None:
    records = by_stage[2]
    data = prepared(records, tmp_path / "2", 3, seed=1)
    assert data.streaming
    assert (data.split.unit, data.split.warning) == ("none", "")
    assert data.training.count == data.validation.count == len(records)
    trained = all_of(data.train_loader.batches(0))
    measured = all_of(data.validation_batches.batches(0))
    assert sorted(trained) == sorted(measured)
    assert trained != measured
    assert measured == all_of(data.validation_batches.batches(0))

    np.save(tmp_path / "1.npy", by_stage[1])
    shards = open_stage_shards(tmp_path / "1.npy", 1, "--stage1-data-path")
    cases = prepare_stage_data(shards, 1, DataConfig(stage2_test_ratio=0.5))
    assert not cases.streaming
    assert cases.split.unit == "none"
    assert cases.training.count == cases.validation.count == 1105
    assert len(all_of(cases.train_loader.batches(0))) == 1105


def test_the_split_is_the_same_in_every_mode_and_layout(
    by_stage: dict[int, Records], tmp_path: Path
) -> None:
    records = by_stage[2]
    kept = []
    for number, (cuts, order, streaming) in enumerate(
        [(1, 1, False), (1, 1, True), (3, 1, True), (2, -1, False)]
    ):
        folder = tmp_path / str(number)
        data = prepared(
            records[::order],
            folder,
            cuts,
            streaming=streaming,
            stage2_test_ratio=0.1,
            shuffle_rows=700,
        )
        assert data.streaming is streaming
        assert (data.split.unit, data.split.warning) == ("row", "")
        trained = sorted(all_of(data.train_loader.batches(0)))
        held_out = sorted(all_of(data.validation_batches.batches(0)))
        assert len(trained) + len(held_out) == len(records)
        assert not set(trained) & set(held_out)
        kept.append((trained, held_out))
    assert all(sides == kept[0] for sides in kept)
    assert len(kept[0][1]) / len(records) == pytest.approx(0.1, abs=0.03)
    other = prepared(records, tmp_path / "s", 1, stage2_test_ratio=0.1, seed=5)
    assert sorted(all_of(other.validation_batches.batches(0))) != kept[0][1]


@pytest.mark.parametrize("ratio", [1e-9, 1 - 1e-9])
def test_neither_side_is_empty(
    by_stage: dict[int, Records], tmp_path: Path, ratio: float
) -> None:
    data = prepared(by_stage[2][:40], tmp_path, 2, stage2_test_ratio=ratio)
    assert min(data.training.count, data.validation.count) == 1


@pytest.mark.parametrize("streaming", [True, False])
def test_two_workers_give_the_batches_of_none(
    by_stage: dict[int, Records], tmp_path: Path, streaming: bool
) -> None:
    made = []
    for workers in (0, 2):
        data = prepared(
            by_stage[2],
            tmp_path,
            2,
            streaming=streaming,
            shuffle_rows=500,
            mirror_probability=0.5,
            stage2_test_ratio=0.2,
            dataloader_workers=workers,
        )
        made.append(
            [identities(b) for e in (0, 1) for b in data.train_loader.batches(e)]
        )
    assert made[0] == made[1]
    half = len(made[0]) // 2
    assert made[0][:half] != made[0][half:]
