"""Raw `.hcpe` files: 38 bytes a record, no header, no game ids."""

from pathlib import Path

from maou.errors import DataError
from maou.records.hcpe import HCPE_BYTES
from maou.records.shards import (
    Extents,
    GameKeys,
    Rows,
    Shard,
    file_size,
    read_bytes,
    require_rows,
)


class RawShard(Shard):
    """A raw hcpe file, as dlshogi and its tools exchange it."""

    def __init__(self, path: Path) -> None:
        """Look at the file's size.

        Raises:
            DataError: no such file, no records, or not a whole number of records.
        """
        size = file_size(path)
        if size % HCPE_BYTES:
            raise DataError(
                f"{path}: {size} bytes are not a whole number of {HCPE_BYTES}-byte "
                f"hcpe records (row {size // HCPE_BYTES} is cut); the file is "
                "truncated or of another format"
            )
        self.path = path
        self.rows = size // HCPE_BYTES
        self.has_ids = False
        require_rows(path, self.rows)

    def read(self, start: int, stop: int) -> Rows:
        """Read records [start, stop)."""
        data = read_bytes(self.path, start * HCPE_BYTES, (stop - start) * HCPE_BYTES)
        return data.reshape(-1, HCPE_BYTES)

    def extents(self, start: int, stop: int) -> Extents:
        """Say where records [start, stop) lie."""
        return [(start * HCPE_BYTES, (stop - start) * HCPE_BYTES)]

    def game_keys(self, start: int, stop: int) -> GameKeys:
        """Raw records name no game: asking is a mistake of the caller."""
        raise AssertionError(f"{self.path}: rows {start} to {stop} have no ids")
