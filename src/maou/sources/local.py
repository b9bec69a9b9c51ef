"""Shards in a local folder."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from maou.errors import DataError
from maou.records.containers import HCPE_CONTAINERS, open_hcpe_shard
from maou.records.preprocess_containers import (
    PREPROCESS_CONTAINERS,
    open_preprocess_shard,
)
from maou.records.preprocess_shards import PreprocessShard
from maou.records.shards import Shard

S = TypeVar("S", Shard, PreprocessShard)


@dataclass(frozen=True)
class ShardSet(Generic[S]):
    """The opened shards of a source, in a fixed order.

    Attributes:
        shards: the shards, sorted by their path below `root`.
        root: the folder that names are relative to.
        ignored: files below the folder whose suffix is no container's.
    """

    shards: tuple[S, ...]
    root: Path
    ignored: tuple[Path, ...] = ()

    @property
    def rows(self) -> int:
        """Number of records in all shards."""
        return sum(shard.rows for shard in self.shards)

    def name(self, index: int) -> str:
        """Name a shard by its path below the root."""
        return self.shards[index].path.relative_to(self.root).as_posix()

    def fingerprint(self) -> str:
        """Identify the data by names, sizes and ends of the shards: 16 hex digits."""
        digest = hashlib.sha256()
        for index, shard in enumerate(self.shards):
            digest.update(f"{self.name(index)}\0{shard.rows}\0".encode())
            for row in (0, shard.rows - 1):
                digest.update(_position_code(shard, row))
        return digest.hexdigest()[:16]


AnyShards = ShardSet[Shard] | ShardSet[PreprocessShard]
"""The shards of a source, of either kind."""


def open_local_shards(path: Path) -> ShardSet[Shard]:
    """Open a file, or every shard below a folder.

    Files are ordered by name, so that the same folder gives the same order on every
    machine. Hidden files and unknown suffixes are left alone; the latter are listed.

    Raises:
        DataError: nothing there, or a file is not what its suffix says.
    """
    known, ignored = find_shards(path, "--input-path", tuple(HCPE_CONTAINERS))
    shards = tuple(open_hcpe_shard(file) for file in known)
    root = path.parent if path.is_file() else path
    return ShardSet(shards=shards, root=root, ignored=tuple(ignored))


def open_preprocess_shards(path: Path, packed: bool) -> ShardSet[PreprocessShard]:
    """Open a file of preprocess records, or every shard below a folder.

    Raises:
        DataError: nothing there, or a file is not what its suffix and `packed` say.
    """
    suffixes = tuple(sorted({suffix for suffix, _ in PREPROCESS_CONTAINERS}))
    known, ignored = find_shards(path, "--input-path", suffixes)
    shards = tuple(open_preprocess_shard(file, packed) for file in known)
    root = path.parent if path.is_file() else path
    return ShardSet(shards=shards, root=root, ignored=tuple(ignored))


def _position_code(shard: Shard | PreprocessShard, row: int) -> bytes:
    if isinstance(shard, PreprocessShard):
        return shard.codes(row, row + 1).tobytes()
    return shard.read(row, row + 1).tobytes()


def find_shards(
    path: Path, flag: str, suffixes: tuple[str, ...]
) -> tuple[list[Path], list[Path]]:
    """List the shards below a folder, and the files of other suffixes.

    Args:
        path: a file, taken whatever its suffix, or a folder.
        flag: where the path came from, for messages.
        suffixes: what shards end in.

    Raises:
        DataError: nothing there.
    """
    if not path.exists():
        raise DataError(f"{flag} {path}: no such file or folder")
    if path.is_file():
        return [path], []
    found = sorted(
        (file for file in path.rglob("*") if _is_visible(file, path)),
        key=lambda file: file.relative_to(path).as_posix(),
    )
    known = [file for file in found if file.suffix.lower() in suffixes]
    ignored = [file for file in found if file.suffix.lower() not in suffixes]
    if not known:
        seen = ", ".join(sorted({file.suffix or "none" for file in ignored}))
        raise DataError(
            f"{flag} {path}: no shards here; looked for {', '.join(suffixes)}"
            + (f" and found only files with suffix {seen}" if seen else "")
        )
    return known, ignored


def _is_visible(file: Path, root: Path) -> bool:
    """Tell whether to look at an entry; a broken link is, so that it is refused."""
    parts = file.relative_to(root).parts
    return not file.is_dir() and not any(part.startswith(".") for part in parts)
