"""Damaged, foreign and hostile `.npy` files: one clear refusal each, nothing else."""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maou.errors import DataError
from maou.records.containers import open_hcpe_shard
from shard_files import RAW, records, write_npy, write_npy_text

Rows = npt.NDArray[np.uint8]


def rows_or_refusal(path: Path) -> str:
    """Read everything; return the one-line message of a refusal, or nothing."""
    try:
        shard = open_hcpe_shard(path)
        assert shard.read(0, shard.rows).shape == (shard.rows, 38)
        if shard.has_ids:
            assert shard.game_keys(0, shard.rows).shape == (shard.rows,)
    except DataError as error:
        message = str(error)
        assert message.startswith(f"{path}: ")
        assert "\n" not in message
        return message
    return ""


def refusal(path: Path) -> str:
    message = rows_or_refusal(path)
    assert message, "it was read"
    return message


@pytest.mark.filterwarnings("ignore:Reading")  # numpy, of headers like Python 2's
def test_cut_at_every_byte(selfplay_rows: Rows, tmp_path: Path) -> None:
    path = tmp_path / "cut.npy"
    write_npy_text(path, selfplay_rows[:5], [f"g_{i}" for i in range(5)])
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        refusal(path)
    path.write_bytes(whole + b"\0")
    assert "truncated or was written over" in refusal(path)
    path.write_bytes(whole)
    assert open_hcpe_shard(path).rows == 5


@pytest.mark.filterwarnings("ignore:Reading", "ignore:invalid escape sequence")
@settings(max_examples=400)
@given(
    flips=st.lists(
        st.tuples(st.integers(0, 1 << 20), st.integers(1, 255)), min_size=1, max_size=4
    ),
    in_header=st.booleans(),
)
def test_flipped_bytes_give_rows_or_a_refusal(
    flips: list[tuple[int, int]],
    in_header: bool,
    selfplay_rows: Rows,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.getbasetemp() / "flipped.npy"
    write_npy_text(path, selfplay_rows[:3], ["対局_1", "対局_2", "a_1"])
    data = bytearray(path.read_bytes())
    for place, value in flips:
        data[place % (240 if in_header else len(data))] ^= value
    path.write_bytes(data)
    rows_or_refusal(path)


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = str(target)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.target,)


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    target = tmp_path / "exploded"
    path = tmp_path / "objects.npy"
    np.save(path, np.array([Bomb(target)], dtype=object), allow_pickle=True)
    assert "Python objects" in refusal(path)

    fields = np.dtype([*RAW.descr, ("extra", object)])
    array = np.zeros(1, dtype=fields)
    array["extra"][0] = Bomb(target)
    np.save(path, array, allow_pickle=True)
    assert "Python objects" in refusal(path)

    path.write_bytes(pickle.dumps(Bomb(target)))
    assert "not a readable .npy file" in refusal(path)

    assert not target.exists()
    with path.open("rb") as stream:
        pickle.load(stream)  # noqa: S301 - proves that the bomb was live
    assert target.is_dir()


def with_field(name: str, kind: Any) -> np.dtype[Any]:
    return np.dtype([(n, kind if n == name else RAW[n]) for n in RAW.names or ()])


@pytest.mark.parametrize(
    ("dtype", "message"),
    [
        (with_field("eval", "<i4"), "eval is int32, not int16"),
        (with_field("eval", ">i2"), "eval is >i2, not int16"),
        (with_field("bestMove16", "<i2"), "bestMove16 is int16, not uint16"),
        (with_field("gameResult", "i1"), "gameResult is int8, not uint8"),
        (with_field("hcp", ("u1", (31,))), "hcp is "),
        (with_field("hcp", "S32"), "hcp is |S32"),
        (with_field("hcp", ("i1", (32,))), "hcp is "),
        (np.dtype([("hcp", "u1", (32,))]), "missing eval, bestMove16, gameResult"),
        (np.dtype([("HCP", "u1", (32,)), *RAW.descr[1:]]), "missing hcp"),
        (
            np.dtype([("moveLabel", "<f2", (1496,)), ("resultValue", "<f2")]),
            "looks like a preprocess shard",
        ),
        (np.dtype([*RAW.descr, ("id", "<u8")]), "id' is uint64; a game id is text"),
        (np.dtype([*RAW.descr, ("id", "S")]), "a game id is text"),
        (np.dtype("<f8"), "plain float64 values, not hcpe records"),
        (np.dtype("u1"), "plain uint8 values"),
        (np.dtype("V38"), "plain |V38 values"),
    ],
)
def test_another_dtype_is_refused_by_name(
    dtype: np.dtype[Any], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "other.npy"
    np.save(path, np.zeros(4, dtype=dtype), allow_pickle=False)
    assert message in refusal(path)


@pytest.mark.parametrize(
    ("shape", "order", "message"),
    [
        ((), "C", "needs? one dimension"),
        ((0,), "C", "holds no records"),
        ((2, 3), "C", "one dimension"),
        ((2, 3), "F", "Fortran order"),
        ((0, 4), "C", "one dimension"),
    ],
)
def test_another_shape_is_refused(
    shape: tuple[int, ...], order: Any, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "shape.npy"
    np.save(path, np.zeros(shape, dtype=RAW, order=order), allow_pickle=False)
    refused = refusal(path)
    assert message.replace("needs? ", "") in refused


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY",
        b"\x93NUMPY\x03\x00\x10\x00\x00\x00{}" + bytes(100),
        b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65535,
        b"\x93NUMPY\x02\x00\xff\xff\xff\x7f" + b"{" * 100,
        b"hcp,eval,bestMove16,gameResult\n1,2,3,4\n",
        "棋譜\n".encode("cp932"),
        bytes(380),
        b"PK\x03\x04" + bytes(500),
    ],
    ids=["empty", "magic", "v3", "deep", "huge", "csv", "text", "zeros", "npz"],
)
def test_another_kind_of_file_named_npy(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "renamed.npy"
    path.write_bytes(content)
    refusal(path)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (-1, "not one that numpy writes"),
        (2**40, "the header promises"),
        (2**63, "not a tuple of sizes"),
        (True, "not a tuple of sizes"),
    ],
)
def test_a_header_that_promises_other_rows(
    rows: int, reason: str, selfplay_rows: Rows, tmp_path: Path
) -> None:
    path = tmp_path / "promise.npy"
    header = {"descr": RAW.descr, "fortran_order": False, "shape": (rows,)}
    with path.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        stream.write(selfplay_rows[:3].tobytes())
    assert reason in refusal(path)


def test_an_id_that_is_not_text_is_named_by_row(
    selfplay_rows: Rows, tmp_path: Path
) -> None:
    path = tmp_path / "ids.npy"
    fields = np.dtype([*RAW.descr, ("id", "<U4")])
    array = np.zeros(9, dtype=fields)
    for name in RAW.names or ():
        array[name] = records(selfplay_rows[:9])[name]
    for bad in (0xD800, 0x110000, 0xFFFFFFFF):
        array["id"] = "g_1"
        array["id"][6:7].view("<u4")[1] = bad
        np.save(path, array, allow_pickle=False)
        shard = open_hcpe_shard(path)
        with pytest.raises(DataError, match="row 6: id is not text"):
            shard.game_keys(2, 9)


def test_a_file_cut_after_it_was_opened(selfplay_rows: Rows, tmp_path: Path) -> None:
    path = tmp_path / "shrinks.npy"
    write_npy(path, selfplay_rows[:100])
    shard = open_hcpe_shard(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DataError, match="ends at byte 2000"):
        shard.read(0, 100)
    path.unlink()
    with pytest.raises(DataError, match="No such file"):
        shard.read(0, 1)
