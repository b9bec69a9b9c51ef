"""Damaged preprocess shards: rows or a clear refusal, never wrong rows by accident."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from maou.errors import DataError
from maou.records.preprocess import DENSE, MOVE, POSITION, PackedBlock, dense_rows
from maou.records.preprocess_containers import kind_of_file, open_preprocess_shard
from maou.records.write_preprocess import write_preprocess_shard
from preprocess_blocks import made_block, part_of

FORMS = [
    (suffix, packed) for suffix in (".npy", ".feather") for packed in (True, False)
]


@pytest.fixture(scope="module")
def block(selfplay_rows: npt.NDArray[np.uint8]) -> PackedBlock:
    return made_block(selfplay_rows[:60])


def write(path: Path, block: PackedBlock, packed: bool) -> bytes:
    write_preprocess_shard(
        path,
        lambda start, stop: part_of(block, start, stop),
        len(block.codes),
        len(block.labels),
        packed,
    )
    return path.read_bytes()


def read_all(path: Path, packed: bool) -> Any:
    shard: Any = open_preprocess_shard(path, packed)
    shard.codes(0, shard.rows)
    return shard.read(0, shard.rows)


@pytest.mark.parametrize(("suffix", "packed"), FORMS)
def test_every_cut_is_refused(
    block: PackedBlock, tmp_path: Path, suffix: str, packed: bool
) -> None:
    path = tmp_path / f"a{suffix}"
    whole = write(path, block, packed)
    step = max(1, len(whole) // 250)
    for length in {*range(0, len(whole), step), len(whole) - 1}:
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=str(path)):
            read_all(path, packed)
    if suffix == ".npy":
        path.write_bytes(whole + b"\0")
        with pytest.raises(DataError, match="truncated or was written over"):
            read_all(path, packed)


@pytest.mark.parametrize(("suffix", "packed"), FORMS)
def test_inverted_bytes_give_rows_or_a_refusal(
    block: PackedBlock, tmp_path: Path, suffix: str, packed: bool
) -> None:
    path = tmp_path / f"a{suffix}"
    whole = write(path, block, packed)
    refused = []
    step = max(1, len(whole) // 400)
    for at in range(0, len(whole), step):
        damaged = bytearray(whole)
        damaged[at] ^= 0xFF
        path.write_bytes(damaged)
        try:
            read_all(path, packed)
        except DataError as error:
            refused.append(str(error))
    assert refused
    assert all(str(path) in message for message in refused)


def test_a_shard_cut_after_it_was_opened_is_refused(
    block: PackedBlock, tmp_path: Path
) -> None:
    for suffix, packed in FORMS:
        path = tmp_path / f"a{suffix}"
        whole = write(path, block, packed)
        shard: Any = open_preprocess_shard(path, packed)
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(DataError, match=str(path)):
            shard.read(0, shard.rows)


def packed_arrays(block: PackedBlock) -> tuple[Any, Any]:
    positions = np.zeros(len(block.codes), dtype=POSITION)
    positions["hcp"], positions["end"] = block.codes, block.offsets[1:]
    positions["count"] = np.add.reduceat(block.counts, block.offsets[:-1])
    moves = np.zeros(len(block.labels), dtype=MOVE)
    moves["label"], moves["count"], moves["wins"] = block[2:]
    return positions, moves


def save(path: Path, positions: Any, moves: Any, shape: tuple[int, ...] = ()) -> None:
    fields: list[Any] = [
        ("positions", positions.dtype, positions.shape),
        ("moves", moves.dtype, moves.shape),
    ]
    record = np.zeros(shape, dtype=fields)
    record["positions"], record["moves"] = positions, moves
    np.save(path, record)


def set_at(name: str, value: int) -> Callable[[Any, Any], None]:
    def change(positions: Any, moves: Any) -> None:
        (positions if name in ("end", "hcp") else moves)[name][20] = value

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (set_at("label", 1496), "row 8: a move has an impossible label"),
        (set_at("wins", 999), "row 8: a move has an impossible label, count or wins"),
        (set_at("count", 0), "row 8: a move has an impossible"),
        (set_at("end", 2**31), "row 20: its moves lie outside"),
        (set_at("end", 0), "row 20: its moves lie outside"),
    ],
)
def test_contradictions_are_named_by_row(
    block: PackedBlock, tmp_path: Path, change: Callable[[Any, Any], None], says: str
) -> None:
    positions, moves = packed_arrays(block)
    save(tmp_path / "good.npy", positions, moves)
    assert len(read_all(tmp_path / "good.npy", True).codes) == len(block.codes)
    change(positions, moves)
    save(tmp_path / "a.npy", positions, moves)
    with pytest.raises(DataError, match=rf"a\.npy: {says}"):
        read_all(tmp_path / "a.npy", True)


def test_sums_that_disagree_are_named_by_row(
    block: PackedBlock, tmp_path: Path
) -> None:
    positions, moves = packed_arrays(block)
    positions["count"][33] += 1
    save(tmp_path / "a.npy", positions, moves)
    with pytest.raises(DataError, match="row 33: its moves do not add up to count"):
        read_all(tmp_path / "a.npy", True)


def test_other_layouts_are_refused(block: PackedBlock, tmp_path: Path) -> None:
    positions, moves = packed_arrays(block)
    path = tmp_path / "a.npy"
    wide = moves.astype([("label", "<u4"), ("count", "<u4"), ("wins", "<u4")])
    for array, shape in ((wide, ()), (moves, (1,))):
        save(path, positions, array, shape)
        with pytest.raises(DataError, match="a packed shard is a single record"):
            open_preprocess_shard(path, packed=True)
    dense = dense_rows(part_of(block, 0, 3))
    fields = [(name, DENSE[name]) for name in DENSE.names or ()]
    for changed, says in (
        (
            [(n, "<f4" if n == "resultValue" else t) for n, t in fields],
            "resultValue is",
        ),
        (fields[:-1], "moveWinRate is missing"),
        (fields[::-1], "the order of the fields"),
    ):
        other = np.zeros(3, dtype=changed)
        np.save(path, other)
        with pytest.raises(DataError, match=says):
            open_preprocess_shard(path, packed=False)
    np.save(path, dense.reshape(3, 1))
    with pytest.raises(DataError, match="shape"):
        open_preprocess_shard(path, packed=False)
    np.save(path, dense[:0])
    with pytest.raises(DataError, match="holds no records"):
        open_preprocess_shard(path, packed=False)


def test_nulls_and_other_types_in_feather_are_refused(tmp_path: Path) -> None:
    moves = pa.list_(
        pa.struct(
            [("label", pa.uint16()), ("count", pa.uint32()), ("wins", pa.uint32())]
        )
    )
    move = {"label": 3, "count": 1, "wins": 2}
    good = {"hcp": [bytes(32)], "count": [1], "moves": [[move]]}
    types = {"hcp": pa.binary(32), "count": pa.uint32(), "moves": moves}

    def refused(says: str, values: dict[str, Any], kinds: dict[str, Any]) -> None:
        table = pa.table({name: pa.array(values[name], kinds[name]) for name in values})
        path = tmp_path / "a.feather"
        with (
            pa.OSFile(str(path), "wb") as sink,
            pa.ipc.new_file(sink, table.schema) as writer,
        ):
            writer.write_table(table)
        with pytest.raises(DataError, match=says):
            read_all(path, True)

    refused("count is uint64, not uint32", good, types | {"count": pa.uint64()})
    refused("row 0: hcp is missing", good | {"hcp": [None]}, types)
    refused("row 0: moves is missing", good | {"moves": [None]}, types)
    refused("moves lacks a value", good | {"moves": [[None]]}, types)
    lacking = good | {"moves": [[move | {"wins": None}]]}
    refused("moves lacks a value", lacking, types)
    refused("row 0: it has no move", good | {"moves": [[]]}, types)
    refused("hcp is missing, not", {"count": [1], "moves": [[move]]}, types)


def test_dense_rows_that_are_no_position_are_named(
    block: PackedBlock, tmp_path: Path
) -> None:
    path = tmp_path / "a.npy"
    for field, value, says in (
        ("boardIdPositions", 29, "a piece id or hand count is out of range"),
        ("piecesInHand", 200, "a piece id or hand count is out of range"),
        ("boardIdPositions", 0, "a king is off the board"),
    ):
        dense = dense_rows(part_of(block, 0, 10))
        dense[field][4] = value
        np.save(path, dense)
        with pytest.raises(DataError, match=f"row 4: {says}"):
            read_all(path, False)


def test_files_that_are_no_shard(tmp_path: Path) -> None:
    for suffix, packed in FORMS:
        path = tmp_path / f"a{suffix}"
        with pytest.raises(DataError, match="No such file"):
            open_preprocess_shard(path, packed)
        path.write_bytes(b"not a shard")
        with pytest.raises(DataError, match="not a readable"):
            open_preprocess_shard(path, packed)
        with pytest.raises(DataError, match="not a readable"):
            kind_of_file(path)
        path.unlink()
    np.save(tmp_path / "a.npy", np.zeros(3))
    with pytest.raises(DataError, match="it has no fields"):
        open_preprocess_shard(tmp_path / "a.npy", packed=True)
