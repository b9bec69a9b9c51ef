"""Shards as other tools would write them, and how to tell rows in batches.

Nothing here uses the product's writers: a mistake that a reader and a writer of ours
share would go unseen.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from game_shards import write_psv
from maou.data.batch import Batch
from maou.shogi.samples import decode_samples

Rows = npt.NDArray[np.uint8]

RAW = np.dtype(
    [
        ("hcp", "u1", (32,)),
        ("eval", "<i2"),
        ("bestMove16", "<u2"),
        ("gameResult", "u1"),
        ("dummy", "u1"),
    ]
)


def records(rows: Rows) -> npt.NDArray[Any]:
    """View raw bytes as the fields that dlshogi's tools name."""
    return np.ascontiguousarray(rows).view(RAW).reshape(-1)


Texts = Sequence[str]
Cuts = Sequence[int]


def write_raw(path: Path, rows: Rows, ids: Texts = (), cuts: Cuts = ()) -> None:
    """Write 38 bytes a record."""
    path.write_bytes(rows.tobytes())


def write_npy(path: Path, rows: Rows, ids: Texts = (), cuts: Cuts = ()) -> None:
    """Write the raw records as a structured array."""
    np.save(path, records(rows), allow_pickle=False)


def write_npy_with(
    path: Path, rows: Rows, fields: Sequence[Any], columns: dict[str, Any]
) -> None:
    """Write a structured array of other fields, or of the same in another order."""
    array = np.zeros(len(rows), dtype=np.dtype(list(fields), align=True))
    for name in array.dtype.names or ():
        source = columns if name in columns else records(rows)
        array[name] = source[name]
    np.save(path, array, allow_pickle=False)


_SHUFFLED = (
    ("gameResult", "u1"),
    ("bestMove16", "<u2"),
    ("hcp", "u1", (32,)),
    ("eval", "<i2"),
)


def write_npy_padded(path: Path, rows: Rows, ids: Texts = (), cuts: Cuts = ()) -> None:
    """Write the fields in another order, with the padding of a C compiler."""
    write_npy_with(path, rows, _SHUFFLED, {})


def write_npy_bytes(path: Path, rows: Rows, ids: Texts, cuts: Cuts = ()) -> None:
    """Write rich records whose ids are UTF-8 bytes."""
    encoded = [text.encode() for text in ids]
    width = max(map(len, encoded))
    fields = (*_SHUFFLED, ("id", f"S{width + 3}"))
    write_npy_with(path, rows, fields, {"id": encoded})


def write_npy_text(path: Path, rows: Rows, ids: Texts, cuts: Cuts = ()) -> None:
    """Write rich records whose ids are numpy text."""
    fields = (("id", f"<U{max(map(len, ids))}"), *_SHUFFLED)
    write_npy_with(path, rows, fields, {"id": list(ids)})


def hcp_column(rows: Rows, kind: Any) -> Any:
    """Make an Arrow column of position codes of any type that can hold them."""
    codes = np.ascontiguousarray(rows[:, :32])
    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(pa.array(codes.reshape(-1)), type=kind)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.array(list(codes), type=kind)
    return pa.array([code.tobytes() for code in codes], type=kind)


def table_of(
    rows: Rows,
    ids: Sequence[str] | None = None,
    hcp_kind: Any = None,
    id_kind: Any = None,
) -> Any:
    """Make an Arrow table of records, with more columns than training needs."""
    raw = records(rows)
    ratings = np.zeros(2 * len(rows), dtype=np.uint16)
    columns = {
        "ratings": pa.FixedSizeListArray.from_arrays(pa.array(ratings), 2),
        "gameResult": pa.array(raw["gameResult"]),
        "hcp": hcp_column(rows, hcp_kind or pa.binary(32)),
        "endgameStatus": pa.array(["%TORYO"] * len(rows)).dictionary_encode(),
        "bestMove16": pa.array(raw["bestMove16"]),
        "eval": pa.array(raw["eval"]),
    }
    if ids is not None:
        columns["id"] = pa.array(list(ids), type=id_kind or pa.string())
    return pa.table(columns)


def write_feather(
    path: Path, table: Any, cuts: Sequence[int] = (), compression: str | None = "lz4"
) -> None:
    """Write an Arrow IPC file whose record batches end at `cuts` and at the end.

    Two equal cuts make an empty record batch.
    """
    options = pa.ipc.IpcWriteOptions(compression=compression)
    parts = table.combine_chunks().to_batches()
    whole = parts[0] if parts else _empty(table.schema)
    bounds = [0, *sorted(cuts), whole.num_rows]
    with (
        pa.OSFile(str(path), "wb") as stream,
        pa.ipc.new_file(stream, whole.schema, options=options) as writer,
    ):
        for start, stop in itertools.pairwise(bounds):
            writer.write_batch(whole.slice(start, stop - start))


def _empty(schema: Any) -> Any:
    arrays = [pa.array([], type=field.type) for field in schema]
    return pa.record_batch(arrays, schema=schema)


class Container(NamedTuple):
    """One way to write a shard."""

    suffix: str
    has_ids: bool
    write: Callable[[Path, Rows, Texts, Cuts], None]


def _feather(
    hcp_kind: Any, id_kind: Any = None, compression: str | None = "lz4"
) -> Container:
    def write(path: Path, rows: Rows, ids: Sequence[str], cuts: Sequence[int]) -> None:
        table = table_of(rows, ids if id_kind else None, hcp_kind, id_kind)
        write_feather(path, table, cuts, compression)

    return Container(".feather", id_kind is not None, write)


CONTAINERS = {
    "raw": Container(".hcpe", False, write_raw),
    "psv": Container(".psv", False, write_psv),
    "bin": Container(".bin", False, write_psv),
    "npy raw": Container(".npy", False, write_npy),
    "npy padded": Container(".npy", False, write_npy_padded),
    "npy bytes ids": Container(".npy", True, write_npy_bytes),
    "npy text ids": Container(".npy", True, write_npy_text),
    "feather fixed binary": _feather(pa.binary(32), pa.string()),
    "feather binary": _feather(pa.binary(), pa.large_string()),
    "feather large binary": _feather(pa.large_binary(), pa.string(), None),
    "feather list": _feather(pa.list_(pa.uint8()), pa.string()),
    "feather large list": _feather(pa.large_list(pa.uint8()), pa.large_string()),
    "feather fixed list": _feather(pa.list_(pa.uint8(), 32), pa.string()),
    "feather without ids": _feather(pa.binary(32)),
}
"""Every kind of shard that the readers promise to read."""


def identities(rows: Rows) -> list[bytes]:
    """Return what each row's sample is, as bytes."""
    samples = decode_samples(rows)
    assert not samples.status_B.any()
    return _joined(*samples[:4])


def batch_identities(batches: Iterable[Batch]) -> Iterator[bytes]:
    """Yield what each sample of some batches is, in order, as `identities` does."""
    for batch in batches:
        yield from _joined(
            batch.board_BS.numpy(),
            batch.hand_BH.numpy(),
            batch.label_B.numpy().astype(np.int16),
            batch.value_B.numpy(),
        )


def _joined(*parts: npt.NDArray[Any]) -> list[bytes]:
    count = len(parts[0])
    flat = [
        np.ascontiguousarray(part).view(np.uint8).reshape(count, -1) for part in parts
    ]
    return [row.tobytes() for row in np.concatenate(flat, axis=1)]
