"""Damaged and foreign `.feather` files: one clear refusal each, nothing else.

Arrow trusts a file's metadata unless asked to check it: a flipped offset once made a
reader of ours walk through foreign memory. So every byte is flipped here.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.feather
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maou.errors import DataError
from maou.records.containers import open_hcpe_shard
from shard_files import table_of, write_feather

Rows = npt.NDArray[np.uint8]
IDS = ["対局_1", "対局_2", "a_1", "a_2"]
LAYOUTS = {
    "compressed": (pa.binary(32), pa.string(), "lz4"),
    "fixed": (pa.binary(32), pa.large_string(), None),
    "binary": (pa.binary(), pa.string(), None),
    "large binary": (pa.large_binary(), pa.large_string(), None),
    "list": (pa.list_(pa.uint8()), pa.string(), None),
}


def small(rows: Rows, path: Path, layout: str) -> bytes:
    """Write four rows in two record batches; return the file's bytes."""
    hcp_kind, id_kind, compression = LAYOUTS[layout]
    table = table_of(rows[:4], IDS, hcp_kind, id_kind)
    write_feather(path, table, (3,), compression)
    return path.read_bytes()


def rows_or_refusal(path: Path) -> str:
    """Read everything; return the message of a refusal, or nothing."""
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


@pytest.mark.parametrize("layout", ["compressed", "fixed"])
def test_cut_at_every_byte(layout: str, selfplay_rows: Rows, tmp_path: Path) -> None:
    path = tmp_path / "cut.feather"
    whole = small(selfplay_rows, path, layout)
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        refusal(path)


@pytest.mark.parametrize("layout", ["compressed", "fixed", "binary", "list"])
def test_every_byte_inverted(layout: str, selfplay_rows: Rows, tmp_path: Path) -> None:
    path = tmp_path / "inverted.feather"
    whole = small(selfplay_rows, path, layout)
    refused = 0
    for place in range(len(whole)):
        data = bytearray(whole)
        data[place] ^= 0xFF
        path.write_bytes(data)
        refused += bool(rows_or_refusal(path))
    assert refused > 500


@settings(max_examples=300)
@given(
    layout=st.sampled_from(sorted(LAYOUTS)),
    flips=st.lists(
        st.tuples(st.integers(0, 1 << 20), st.integers(1, 255)), min_size=1, max_size=4
    ),
)
def test_flipped_bytes_give_rows_or_a_refusal(
    layout: str,
    flips: list[tuple[int, int]],
    selfplay_rows: Rows,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.getbasetemp() / "flipped.feather"
    data = bytearray(small(selfplay_rows, path, layout))
    for place, value in flips:
        data[place % len(data)] ^= value
    path.write_bytes(data)
    rows_or_refusal(path)


def with_column(table: Any, name: str, column: Any) -> Any:
    return table.set_column(table.column_names.index(name), name, column)


def with_null(table: Any, name: str) -> Any:
    values = table.column(name).combine_chunks()
    items = values.to_pylist()
    items[2] = None
    column = pa.array(items, type=values.type)
    return with_column(table, name, column)


CHANGES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "no hcp": (lambda t: t.drop_columns(["hcp"]), "missing hcp among its columns"),
    "preprocess": (
        lambda _: pa.table({"id": pa.array([1], pa.uint64()), "moveLabel": [[0.5]]}),
        "looks like a preprocess shard",
    ),
    "wide eval": (
        lambda t: with_column(t, "eval", t.column("eval").cast(pa.int32())),
        "eval is int32, not int16",
    ),
    "signed move": (
        lambda t: with_column(t, "bestMove16", pa.array([1, 2, 3, 4], pa.int16())),
        "bestMove16 is int16, not uint16",
    ),
    "float result": (
        lambda t: with_column(t, "gameResult", pa.array([1.0, 0, 0, 0])),
        "gameResult is double, not uint8",
    ),
    "text hcp": (
        lambda t: with_column(t, "hcp", pa.array(["x" * 32] * 4)),
        "hcp is string, not binary or a list of uint8",
    ),
    "short fixed hcp": (
        lambda t: with_column(t, "hcp", pa.array([b"x" * 31] * 4, pa.binary(31))),
        "hcp is fixed_size_binary[31]",
    ),
    "signed list": (
        lambda t: with_column(t, "hcp", pa.array([[1] * 32] * 4, pa.list_(pa.int8()))),
        "hcp is list<",
    ),
    "one short hcp": (
        lambda t: with_column(
            t, "hcp", pa.array([b"x" * 32, b"x" * 33, b"", b"x" * 32], pa.binary())
        ),
        "row 1: hcp has 33 bytes, not 32",
    ),
    "one short list": (
        lambda t: with_column(
            t,
            "hcp",
            pa.array([[0] * 32, [0] * 32, [0] * 32, [0] * 5], pa.list_(pa.uint8())),
        ),
        "row 3: hcp has 5 bytes, not 32",
    ),
    "null in list": (
        lambda t: with_column(
            t,
            "hcp",
            pa.array(
                [[0] * 32, [0] * 32, [0] * 31 + [None], [0] * 32], pa.list_(pa.uint8())
            ),
        ),
        "row 2: hcp lacks a byte",
    ),
    "null in fixed list": (
        lambda t: with_column(
            t,
            "hcp",
            pa.array(
                [[0] * 32, [None] * 32, [0] * 32, [0] * 32], pa.list_(pa.uint8(), 32)
            ),
        ),
        "row 1: hcp lacks a byte",
    ),
    "null hcp": (lambda t: with_null(t, "hcp"), "row 2: hcp is missing (null)"),
    "null eval": (lambda t: with_null(t, "eval"), "row 2: eval is missing (null)"),
    "null move": (
        lambda t: with_null(t, "bestMove16"),
        "row 2: bestMove16 is missing (null)",
    ),
    "null result": (
        lambda t: with_null(t, "gameResult"),
        "row 2: gameResult is missing (null)",
    ),
    "null id": (lambda t: with_null(t, "id"), "row 2: id is missing (null)"),
    "number id": (
        lambda t: with_column(t, "id", pa.array([1, 2, 3, 4])),
        "column 'id' is int64; a game id is text",
    ),
    "double column": (
        lambda t: t.append_column("eval", t.column("eval")),
        "more than one column named eval",
    ),
    "no rows": (lambda t: t.slice(0, 0), "holds no records"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_another_table_is_refused_by_name(
    name: str, selfplay_rows: Rows, tmp_path: Path
) -> None:
    change, message = CHANGES[name]
    path = tmp_path / "other.feather"
    table = change(table_of(selfplay_rows[:4], IDS))
    write_feather(path, table, (1,) if table.num_rows > 1 else ())
    assert message in refusal(path)


def test_a_file_without_record_batches(selfplay_rows: Rows, tmp_path: Path) -> None:
    path = tmp_path / "none.feather"
    schema = table_of(selfplay_rows[:1]).schema
    with pa.OSFile(str(path), "wb") as stream, pa.ipc.new_file(stream, schema):
        pass
    assert "holds no records" in refusal(path)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_other_formats_named_feather(selfplay_rows: Rows, tmp_path: Path) -> None:
    path = tmp_path / "other.feather"
    table = table_of(selfplay_rows[:4])
    plain = table.select(["eval", "bestMove16", "gameResult"])
    pyarrow.feather.write_feather(plain, path, version=1)
    assert path.read_bytes().startswith(b"FEA1")
    assert "not a readable feather" in refusal(path)
    with (
        pa.OSFile(str(path), "wb") as stream,
        pa.ipc.new_stream(stream, plain.schema) as writer,
    ):
        writer.write_table(plain)
    assert "not a readable feather" in refusal(path)
    for content in (b"", b"ARROW1", b"ARROW1\0\0" * 40, selfplay_rows[:9].tobytes()):
        path.write_bytes(content)
        assert "not a readable feather" in refusal(path)


def test_a_file_replaced_after_it_was_opened(
    selfplay_rows: Rows, tmp_path: Path
) -> None:
    path = tmp_path / "replaced.feather"
    write_feather(path, table_of(selfplay_rows[:100], IDS * 25), (50,))
    shard = open_hcpe_shard(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DataError, match="not a readable feather"):
        shard.read(0, 100)
    for rows, cuts in ((60, (50,)), (100, (40,)), (30, ())):
        table = table_of(selfplay_rows[:rows], (IDS * 25)[:rows])
        write_feather(path, table, cuts)
        with pytest.raises(DataError, match="was changed after it was opened"):
            shard.read(0, 100)
        with pytest.raises(DataError, match="was changed after it was opened"):
            shard.game_keys(0, 100)
