"""Shards in a local folder."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Generic, TypeVar

from maou.errors import DataError
from maou.records.containers import GAME_SUFFIXES, HCPE_CONTAINERS, open_hcpe_shard
from maou.records.preprocess_containers import (
    PREPROCESS_CONTAINERS,
    open_preprocess_shard,
)
from maou.records.preprocess_shards import HCPE_REMEDY, PreprocessShard
from maou.records.shards import Shard
from maou.records.stage_shards import STAGES, SUFFIX, StageShard

S = TypeVar("S", Shard, PreprocessShard, StageShard)


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
                digest.update(_identity(shard, row))
        return digest.hexdigest()[:16]


PlayedShards = ShardSet[Shard] | ShardSet[PreprocessShard]
"""Shards of what was played, as stage 3 learns it."""

AnyShards = PlayedShards | ShardSet[StageShard]
"""The shards of a source, of any kind."""


def open_local_shards(path: Path) -> ShardSet[Shard]:
    """Open a file, or every shard below a folder.

    Files are ordered by name, so that the same folder gives the same order on every
    machine. Hidden files and unknown suffixes are left alone; the latter are listed.

    Raises:
        DataError: nothing there, or a file is not what its suffix says.
    """
    flag = "--input-path"
    found = find_shards(path, flag, tuple(HCPE_CONTAINERS))
    return _opened(path, flag, found, open_hcpe_shard)


def open_preprocess_shards(
    path: Path, packed: bool, flag: str = "--input-path"
) -> ShardSet[PreprocessShard]:
    """Open a file of preprocess records, or every shard below a folder.

    Args:
        path: the file or folder.
        packed: whether the records are packed.
        flag: where the path came from, for messages.

    Raises:
        DataError: nothing there, or a file is not what its suffix and `packed` say.
    """
    suffixes = tuple(sorted({suffix for suffix, _ in PREPROCESS_CONTAINERS}))
    found = find_shards(path, flag, suffixes, dict.fromkeys(GAME_SUFFIXES, HCPE_REMEDY))
    return _opened(path, flag, found, lambda file: open_preprocess_shard(file, packed))


def open_stage_shards(path: Path, stage: int, flag: str) -> ShardSet[StageShard]:
    """Open a file of stage records, or every shard below a folder.

    Args:
        path: the file or folder.
        stage: 1 or 2.
        flag: where the path came from, for messages.

    Raises:
        DataError: nothing there, or a file holds something else.
    """
    text = f"holds no stage {stage} records; {STAGES[stage].remedy}"
    instead = dict.fromkeys((*GAME_SUFFIXES, ".feather"), text)
    found = find_shards(path, flag, (SUFFIX,), instead)
    return _opened(path, flag, found, lambda file: StageShard(file, stage))


def _opened(
    path: Path,
    flag: str,
    found: tuple[list[Path], list[Path]],
    open_shard: Callable[[Path], S],
) -> ShardSet[S]:
    """Open the files that were found, naming the flag where one is not a shard."""
    known, ignored = found
    root = path.parent if path.is_file() else path
    try:
        shards = tuple(open_shard(file) for file in known)
    except DataError as error:
        raise DataError(f"{flag} {error}") from error
    return ShardSet(shards=shards, root=root, ignored=tuple(ignored))


def _identity(shard: Shard | PreprocessShard | StageShard, row: int) -> bytes:
    if isinstance(shard, PreprocessShard):
        return shard.codes(row, row + 1).tobytes()
    return shard.read(row, row + 1).tobytes()


def find_shards(
    path: Path,
    flag: str,
    suffixes: tuple[str, ...],
    instead: Mapping[str, str] = MappingProxyType({}),
) -> tuple[list[Path], list[Path]]:
    """List the shards below a folder, and the files of other suffixes.

    Args:
        path: a file, taken whatever its suffix, or a folder.
        flag: where the path came from, for messages.
        suffixes: what shards end in.
        instead: what to say of a folder without shards that has files of a suffix.

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
        for file in ignored:
            if file.suffix.lower() in instead:
                raise DataError(f"{flag} {path}: {instead[file.suffix.lower()]}")
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
