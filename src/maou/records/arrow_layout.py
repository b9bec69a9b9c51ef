"""The layout of Arrow IPC files, checked before pyarrow reads a record batch.

pyarrow makes room for as many bytes as a compressed buffer says it holds. Here the
footer, the place of every record batch and the sizes that its buffers claim are looked
at first, so that memory is bounded by what the file really has.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

from maou.errors import DataError
from maou.records.shards import file_size, read_bytes

_MAGIC = b"ARROW1"
_TAIL = len(_MAGIC) + 4
_FOOTER_DICTIONARIES, _FOOTER_BATCHES = 2, 3
_MESSAGE_KIND, _MESSAGE_HEADER = 1, 2
_DICTIONARY, _BATCH = 2, 3
_DICTIONARY_DATA = 1
_BATCH_BUFFERS, _BATCH_COMPRESSION = 2, 3
_BLOCK_BYTES, _BUFFER_BYTES = 24, 16

_MOST_METADATA = 1 << 26
_ROOM = 1 << 24
"""A record batch may always grow to so many bytes."""

_MOST_GROWTH = {0: 256, 1: 2048}
"""How many times its size a buffer can grow, by codec: LZ4 (whose format allows no
more) and ZSTD."""


class _Damaged(Exception):  # noqa: N818 - never leaves this module
    pass


class _Table:
    """A table of a flatbuffer, every offset of which is checked."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data, self._at = data, at
        self._fields = at - self._number("<i", at)
        self._size = self._number("<H", self._fields)

    @classmethod
    def root(cls, data: bytes) -> "_Table":
        """Find the outermost table."""
        if len(data) < 4:
            raise _Damaged("its metadata is cut")
        return cls(data, int.from_bytes(data[:4], "little"))

    def _number(self, form: str, at: int) -> int:
        if not 0 <= at <= len(self._data) - struct.calcsize(form):
            raise _Damaged("its metadata points outside of itself")
        return int(struct.unpack_from(form, self._data, at)[0])

    def _place(self, field: int) -> int:
        """Return where a field is, or 0."""
        entry = 4 + 2 * field
        if entry + 2 > self._size:
            return 0
        offset = self._number("<H", self._fields + entry)
        return self._at + offset if offset else 0

    def byte(self, field: int) -> int:
        """Read a field of one byte; 0 where it is left out."""
        at = self._place(field)
        return self._number("<B", at) if at else 0

    def table(self, field: int) -> "_Table | None":
        """Read a field that is a table."""
        at = self._place(field)
        return _Table(self._data, at + self._number("<I", at)) if at else None

    def structs(self, field: int, size: int) -> memoryview:
        """Read a field that is a vector of structs, as their bytes."""
        at = self._place(field)
        if not at:
            return memoryview(b"")
        at += self._number("<I", at)
        begin, count = at + 4, self._number("<I", at)
        if begin + count * size > len(self._data):
            raise _Damaged("its metadata points outside of itself")
        return memoryview(self._data)[begin : begin + count * size]


def require_layout(path: Path) -> None:
    """Refuse a file whose parts lie outside of it or claim to be absurdly large.

    Raises:
        DataError: no such file, not Arrow IPC, or such a claim.
    """
    try:
        _require_layout(path, file_size(path))
    except _Damaged as error:
        raise DataError(
            f"{path}: not a readable feather (Arrow IPC) file: {error}"
        ) from error


def _require_layout(path: Path, size: int) -> None:
    end = 0
    for begin, metadata, body in sorted(_blocks(path, size)):
        if begin < end:
            raise _Damaged("its record batches overlap")
        end = begin + metadata + body
        if min(metadata, body) < 0 or metadata > _MOST_METADATA or end > size:
            raise _Damaged("a record batch lies outside of the file")
        _require_sizes(path, begin, metadata, body)


def _blocks(path: Path, size: int) -> Iterator[tuple[int, int, int]]:
    """Yield where record batches and dictionaries begin, and their two lengths."""
    if size < len(_MAGIC) + _TAIL:
        raise _Damaged("it is too short")
    tail = read_bytes(path, size - _TAIL, _TAIL).tobytes()
    if read_bytes(path, 0, len(_MAGIC)).tobytes() != _MAGIC or tail[4:] != _MAGIC:
        raise _Damaged("it does not begin and end as one, or is cut")
    length = int.from_bytes(tail[:4], "little", signed=True)
    if not 0 < length <= min(_MOST_METADATA, size - len(_MAGIC) - _TAIL):
        raise _Damaged(f"its footer claims {length} bytes")
    footer = _Table.root(read_bytes(path, size - _TAIL - length, length).tobytes())
    for field in (_FOOTER_DICTIONARIES, _FOOTER_BATCHES):
        yield from struct.iter_unpack("<qi4xq", footer.structs(field, _BLOCK_BYTES))


def _require_sizes(path: Path, begin: int, metadata: int, body: int) -> None:
    """Refuse a record batch whose buffers claim to grow beyond all measure."""
    message = _Table.root(_message(path, begin, metadata))
    batch = message.table(_MESSAGE_HEADER)
    if message.byte(_MESSAGE_KIND) == _DICTIONARY and batch is not None:
        batch = batch.table(_DICTIONARY_DATA)
    elif message.byte(_MESSAGE_KIND) != _BATCH:
        raise _Damaged("a record batch is something else")
    if batch is None:
        raise _Damaged("a record batch is empty")
    compression = batch.table(_BATCH_COMPRESSION)
    buffers = struct.iter_unpack("<qq", batch.structs(_BATCH_BUFFERS, _BUFFER_BYTES))
    if compression is None:
        return
    growth = _MOST_GROWTH.get(compression.byte(0), 0)
    claimed = 0
    for offset, length in buffers:
        if not 0 <= offset <= body - length or length < 0:
            raise _Damaged("a column lies outside of its record batch")
        if length >= 8:
            at = begin + metadata + offset
            said = int.from_bytes(
                read_bytes(path, at, 8).tobytes(), "little", signed=True
            )
            claimed += max(said, 0)
    if claimed > growth * body + _ROOM:
        raise _Damaged(f"a record batch of {body} bytes claims to hold {claimed} bytes")


def _message(path: Path, begin: int, metadata: int) -> bytes:
    """Read a message's flatbuffer, past the length and the mark before it."""
    data = read_bytes(path, begin, metadata).tobytes()
    return data[8 if data[:4] == b"\xff\xff\xff\xff" else 4 :]
