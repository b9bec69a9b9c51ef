"""The bytes of one object, held still while they are sent."""

import hashlib
import io
import json
import os
import struct
from pathlib import Path
from typing import Any, BinaryIO, Self

from maou.sources.object_store import Checksum, new_digest

_CHUNK = 1 << 20
_RECORD_HEAD, _RECORD_CHECKS = 12, 4  # of TFRecord: length and its CRC, CRC of the data


class Payload:
    """What an object is to hold.

    A file is opened at once, and no more of it is sent than it had then: it may grow or
    be replaced meanwhile.

    Attributes:
        size: bytes.
        sha256: their hash in hexadecimal digits.
        checksum: their hash as the store knows it.
        modified: when the file that they are from was changed, in nanoseconds; 0 if
            they are from none.
    """

    def __init__(
        self, stream: BinaryIO, size: int, kind: str, modified: int = 0
    ) -> None:
        """Hash the first `size` bytes of a stream, which this object then owns.

        Args:
            stream: the bytes; can be sought.
            size: how many of them count.
            kind: the kind of the store's checksum.
            modified: when the file was changed.
        """
        self._stream, self.size, self.modified = stream, size, modified
        whole, own = hashlib.sha256(), new_digest(kind)
        for begin in range(0, size, _CHUNK):
            chunk = self.read(begin, _CHUNK)
            whole.update(chunk)
            own.update(chunk)
        self.sha256 = whole.hexdigest()
        self.checksum = Checksum.of(kind, own)

    @classmethod
    def of_file(cls, path: Path, kind: str) -> Self:
        """Take what a file holds now, up to what may be half written at its end."""
        stream = path.open("rb")
        try:
            modified = os.fstat(stream.fileno()).st_mtime_ns
            if path.suffix == ".jsonl":
                size = _whole_lines(stream)
            elif ".tfevents." in path.name:
                size = _whole_records(stream)
            else:
                size = stream.seek(0, io.SEEK_END)
            return cls(stream, size, kind, modified)
        except BaseException:
            stream.close()
            raise

    @classmethod
    def of_bytes(cls, data: bytes, kind: str) -> Self:
        """Take some bytes."""
        return cls(io.BytesIO(data), len(data), kind)

    @classmethod
    def of_json(cls, plain: Any, kind: str) -> Self:
        """Take a JSON document, laid out as our other ones."""
        return cls.of_bytes(json_bytes(plain), kind)

    def read(self, begin: int, count: int) -> bytes:
        """Give at most `count` bytes from `begin` on.

        Raises:
            OSError: the file has become shorter.
        """
        count = max(0, min(count, self.size - begin))
        self._stream.seek(begin)
        data = self._stream.read(count)
        if len(data) < count:
            raise OSError("a file became shorter while it was read")
        return data

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the file."""
        self._stream.close()


def json_bytes(plain: Any) -> bytes:
    """Render a JSON document as checkpoints have them."""
    return (json.dumps(plain, indent=2) + "\n").encode()


def _whole_lines(stream: BinaryIO) -> int:
    """Return where the last complete line ends."""
    end = stream.seek(0, io.SEEK_END)
    while end:
        begin = max(0, end - _CHUNK)
        stream.seek(begin)
        at = stream.read(end - begin).rfind(b"\n")
        if at >= 0:
            return begin + at + 1
        end = begin
    return 0


def _whole_records(stream: BinaryIO) -> int:
    """Return where the last complete record of an event file ends."""
    size, at = stream.seek(0, io.SEEK_END), 0
    while True:
        stream.seek(at)
        head = stream.read(_RECORD_HEAD)
        if len(head) < _RECORD_HEAD:
            return at
        after = at + _RECORD_HEAD + struct.unpack("<Q", head[:8])[0] + _RECORD_CHECKS
        if after > size:
            return at
        at = after
