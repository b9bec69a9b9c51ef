"""Joining small shards into larger files: the same rows in the same order.

Neighbours in a listing are joined while they are in one folder and one container. Of
`.npy` files with game ids of different widths the widest is used. Rows keep their game
ids, so the split by game is the same; of shards without ids the file is the unit that
is held out, so there it is the bundle.
"""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from maou.errors import DataError
from maou.records.arrow import ArrowFile
from maou.records.npy_header import read_header
from maou.records.preprocess import POSITION, packed_dtype
from maou.records.preprocess_npy import PackedNpy
from maou.records.preprocess_shards import kind_of_fields
from maou.records.shards import file_size, read_bytes
from maou.records.write_preprocess import MAX_PACKED_BYTES, write_npy_header

_PIECE = 64 << 20
"""Bytes of rows held at a time."""


def group(names: Sequence[str], sizes: Sequence[int], target: float) -> list[range]:
    """Group neighbours into bundles of at most about `target` bytes.

    Args:
        names: the shards' names in order.
        sizes: their sizes in bytes.
        target: what a bundle should not exceed (nor what a file of numpy's can hold);
            a larger shard stays alone.

    Returns:
        Numbers of the shards in each bundle, in order.
    """
    groups: list[range] = []
    target = min(target, MAX_PACKED_BYTES)
    begin, total = 0, 0
    for index, size in enumerate(sizes):
        place = _place(names[index])
        alike = place == _place(names[begin]) and place[1] in _WRITERS
        if index > begin and (not alike or total + size > target):
            groups.append(range(begin, index))
            begin, total = index, 0
        total += size
    return [*groups, range(begin, len(names))] if names else []


def _place(name: str) -> tuple[PurePosixPath, str]:
    path = PurePosixPath(name)
    return path.parent, path.suffix.lower()


def join(parts: Sequence[tuple[str, Path]], stream: BinaryIO) -> None:
    """Write the rows of shards of one container as one shard.

    Args:
        parts: what each is called in messages, and its file.
        stream: where to write.

    Raises:
        DataError: they are not alike, or not what their suffix says.
    """
    _WRITERS[parts[0][1].suffix](parts, stream)


def _unlike(parts: Sequence[tuple[str, Path]], index: int) -> DataError:
    return DataError(
        f"{parts[index][0]}: its records differ from those of {parts[0][0]}, so they "
        "cannot be in one bundle; leave out --input-enable-bundling"
    )


def _join_bytes(parts: Sequence[tuple[str, Path]], stream: BinaryIO) -> None:
    for _, path in parts:
        _copy(path, 0, file_size(path), stream)


def _copy(path: Path, begin: int, end: int, stream: BinaryIO) -> None:
    stream.writelines(
        read_bytes(path, at, min(_PIECE, end - at)).data
        for at in range(begin, end, _PIECE)
    )


def _join_npy(parts: Sequence[tuple[str, Path]], stream: BinaryIO) -> None:
    headers = [read_header(path) for _, path in parts]
    if kind_of_fields(headers[0][1].names or ()) == "packed":
        _join_packed(parts, stream)
        return
    common = headers[0][1]
    rows = 0
    for index, (shape, dtype, _) in enumerate(headers):
        if len(shape) != 1 or dtype.names is None or dtype.names != common.names:
            raise _unlike(parts, index)
        try:
            common = np.promote_types(common, dtype)
        except TypeError as error:
            raise _unlike(parts, index) from error
        rows += shape[0]
    # Promotion may change the layout; a single type keeps the one that it has.
    if all(dtype == headers[0][1] for _, dtype, _ in headers):
        common = headers[0][1]
    write_npy_header(stream, common, (rows,))
    for (_, path), (shape, dtype, offset) in zip(parts, headers, strict=True):
        end = offset + shape[0] * dtype.itemsize
        if dtype == common:
            _copy(path, offset, end, stream)
            continue
        step = max(1, _PIECE // dtype.itemsize) * dtype.itemsize
        for at in range(offset, end, step):
            data = read_bytes(path, at, min(step, end - at)).view(dtype)
            stream.write(data.astype(common).tobytes())


def _join_packed(parts: Sequence[tuple[str, Path]], stream: BinaryIO) -> None:
    """Join packed preprocess shards: all positions, then all moves."""
    shards = [PackedNpy(path) for _, path in parts]
    begins = [read_header(path)[2] for _, path in parts]
    moves = sum(shard.moves for shard in shards)
    dtype = packed_dtype(sum(shard.rows for shard in shards), moves)
    write_npy_header(stream, dtype, ())
    moves = 0
    for shard, begin in zip(shards, begins, strict=True):
        size = shard.rows * POSITION.itemsize
        step = _PIECE // POSITION.itemsize * POSITION.itemsize
        for at in range(begin, begin + size, step):
            data = read_bytes(shard.path, at, min(step, begin + size - at))
            positions = data.view(POSITION)
            positions["end"] += moves
            stream.write(positions.tobytes())
        moves += shard.moves
    for shard, begin in zip(shards, begins, strict=True):
        _copy(
            shard.path,
            begin + shard.rows * POSITION.itemsize,
            file_size(shard.path),
            stream,
        )


def _join_feather(parts: Sequence[tuple[str, Path]], stream: Any) -> None:
    schema: Any = None
    writer: Any = None
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    for index, (_, path) in enumerate(parts):
        with ArrowFile(path).open() as reader:
            if writer is None:
                schema = reader.schema
                writer = pa.ipc.new_file(stream, schema, options=options)
            if not reader.schema.equals(schema):
                raise _unlike(parts, index)
            for number in range(reader.num_record_batches):
                writer.write_batch(reader.get_batch(number))
    writer.close()


_WRITERS = {".hcpe": _join_bytes, ".npy": _join_npy, ".feather": _join_feather}
"""How the shards of each container are joined; those of others stay alone."""
