"""Shards in a local folder."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from maou.errors import DataError
from maou.records.containers import HCPE_CONTAINERS, open_hcpe_shard
from maou.records.shards import Shard


@dataclass(frozen=True)
class ShardSet:
    """The opened shards of a source, in a fixed order.

    Attributes:
        shards: the shards, sorted by their path below `root`.
        root: the folder that names are relative to.
        ignored: files below the folder whose suffix is no container's.
    """

    shards: tuple[Shard, ...]
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
            digest.update(shard.read(0, 1).tobytes())
            digest.update(shard.read(shard.rows - 1, shard.rows).tobytes())
        return digest.hexdigest()[:16]


def open_local_shards(path: Path) -> ShardSet:
    """Open a file, or every shard below a folder.

    Files are ordered by name, so that the same folder gives the same order on every
    machine. Hidden files and unknown suffixes are left alone; the latter are listed.

    Raises:
        DataError: nothing there, or a file is not what its suffix says.
    """
    if not path.exists():
        raise DataError(f"--input-path {path}: no such file or folder")
    if path.is_file():
        return ShardSet(shards=(open_hcpe_shard(path),), root=path.parent)
    found = sorted(
        (file for file in path.rglob("*") if _is_visible(file, path)),
        key=lambda file: file.relative_to(path).as_posix(),
    )
    known = [file for file in found if file.suffix.lower() in HCPE_CONTAINERS]
    ignored = [file for file in found if file.suffix.lower() not in HCPE_CONTAINERS]
    if not known:
        seen = ", ".join(sorted({file.suffix or "none" for file in ignored}))
        raise DataError(
            f"--input-path {path}: no shards here; looked for "
            f"{', '.join(HCPE_CONTAINERS)}"
            + (f" and found only files with suffix {seen}" if seen else "")
        )
    shards = tuple(open_hcpe_shard(file) for file in known)
    return ShardSet(shards=shards, root=path, ignored=tuple(ignored))


def _is_visible(file: Path, root: Path) -> bool:
    """Tell whether to look at an entry; a broken link is, so that it is refused."""
    parts = file.relative_to(root).parts
    return not file.is_dir() and not any(part.startswith(".") for part in parts)
