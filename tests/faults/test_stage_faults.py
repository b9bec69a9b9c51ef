"""Damaged stage shards: rows or a clear refusal, never wrong rows by accident."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from maou.convert.stage1 import stage1_cases
from maou.errors import DataError
from maou.records.stage_shards import StageShard
from stage_files import Records, stage2_records, unpacked

FORMS = [(stage, packed) for stage in (1, 2) for packed in (True, False)]


@pytest.fixture(scope="module")
def by_stage(
    selfplay_rows: npt.NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory
) -> dict[int, Records]:
    folder = tmp_path_factory.mktemp("rows")
    return {1: stage1_cases()[:60], 2: stage2_records(selfplay_rows[:60], folder)}


def form_of(by_stage: dict[int, Records], stage: int, packed: bool) -> Any:
    records = by_stage[stage]
    return records.copy() if packed else unpacked(records, stage)


def refusal(path: Path, stage: int, records: Any) -> str:
    """Write records and read them; return the message, which names the file."""
    np.save(path, records)
    shard = StageShard(path, stage)
    with pytest.raises(DataError) as caught:
        shard.read(10, shard.rows)
    message = str(caught.value)
    assert message.startswith(f"{path}: row 23: ")
    return message


@pytest.mark.parametrize(("stage", "packed"), FORMS)
def test_every_cut_is_refused(
    by_stage: dict[int, Records], tmp_path: Path, stage: int, packed: bool
) -> None:
    path = tmp_path / "a.npy"
    np.save(path, form_of(by_stage, stage, packed))
    whole = path.read_bytes()
    step = max(1, len(whole) // 250)
    for length in {*range(0, len(whole), step), len(whole) - 1, len(whole) + 1}:
        path.write_bytes((whole + b"\0")[:length])
        if length == len(whole):
            continue
        with pytest.raises(DataError, match=str(path)):
            StageShard(path, stage)


def test_a_shard_cut_after_it_was_opened_is_refused(
    by_stage: dict[int, Records], tmp_path: Path
) -> None:
    path = tmp_path / "a.npy"
    np.save(path, by_stage[2])
    shard = StageShard(path, 2)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(DataError, match="was cut after it was opened"):
        shard.read(0, shard.rows)
    with pytest.raises(DataError, match="was cut after it was opened"):
        list(shard.ids())


@pytest.mark.parametrize(("stage", "packed"), FORMS)
def test_inverted_bytes_give_rows_or_a_refusal(
    by_stage: dict[int, Records], tmp_path: Path, stage: int, packed: bool
) -> None:
    path = tmp_path / "a.npy"
    np.save(path, form_of(by_stage, stage, packed))
    whole = path.read_bytes()
    refused = []
    for at in range(0, len(whole), max(1, len(whole) // 300)):
        damaged = bytearray(whole)
        damaged[at] ^= 0xFF
        path.write_bytes(damaged)
        try:
            shard = StageShard(path, stage)
            shard.read(0, shard.rows)
        except DataError as error:
            refused.append(str(error))
    assert refused
    assert all(str(path) in message for message in refused)


@pytest.mark.parametrize(("stage", "packed"), FORMS)
def test_impossible_positions_name_the_row(
    by_stage: dict[int, Records], tmp_path: Path, stage: int, packed: bool
) -> None:
    path = tmp_path / "a.npy"
    for field, place, value in (
        ("boardIdPositions", (23, 4, 4), 29),
        ("piecesInHand", (23, 6), 3),
        ("piecesInHand", (23, 7), 19),
    ):
        records = form_of(by_stage, stage, packed)
        records[field][place] = value
        said = refusal(path, stage, records)
        assert "a piece id or hand count is out of range" in said


def test_a_stage_2_row_without_its_kings_or_pieces_is_refused(
    by_stage: dict[int, Records], tmp_path: Path
) -> None:
    path = tmp_path / "a.npy"
    records = by_stage[2].copy()
    board = records["boardIdPositions"][23]
    board[board == 8] = 0
    assert "a king is off the board" in refusal(path, 2, records)
    records = by_stage[2].copy()
    board = records["boardIdPositions"][23]
    board[np.unravel_index(int(np.argmax(board == 1)), (9, 9))] = 0
    assert "not one full set" in refusal(path, 2, records)


def test_bits_beyond_the_last_square_are_refused(
    by_stage: dict[int, Records], tmp_path: Path
) -> None:
    for bit in range(1, 8):
        records = by_stage[1].copy()
        records["reachableSquares"][23, 10] |= 1 << bit
        said = refusal(tmp_path / "a.npy", 1, records)
        assert said.endswith("reachableSquares has bits set beyond its 81")


@pytest.mark.parametrize("stage", [1, 2])
def test_unpacked_targets_are_0_or_1(
    by_stage: dict[int, Records], tmp_path: Path, stage: int
) -> None:
    records = unpacked(by_stage[stage], stage)
    records[records.dtype.names[3]].reshape(60, -1)[23, 80] = 2
    said = refusal(tmp_path / "a.npy", stage, records)
    assert "has values other than 0 and 1" in said


def test_other_layouts_of_the_fields_are_refused(
    by_stage: dict[int, Records], tmp_path: Path
) -> None:
    path, records = tmp_path / "a.npy", by_stage[2]
    wider = np.zeros(60, dtype=[*records.dtype.descr, ("more", "u1")])
    signed = records.astype([("id", "<i8"), *records.dtype.descr[1:]])
    narrower = np.zeros(60, dtype=[records.dtype.descr[i] for i in (0, 1, 3)])
    for made, says in (
        (wider, "order of the fields"),
        (narrower, "piecesInHand is missing"),
        (signed, "id is int64"),
        (records.reshape(2, -1), r"shape \(2, "),
    ):
        np.save(path, made)
        with pytest.raises(DataError, match=says):
            StageShard(path, 2)
    np.save(path, records[:0])
    with pytest.raises(DataError, match="holds no records"):
        StageShard(path, 2)
