"""Shards in local files: which files they are, their order and names."""

import contextlib
import functools
import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Generic, TypeVar

from maou.errors import DataError, Interrupted, MaouError
from maou.reading import files_below, kind_of
from maou.records.arriving import cache_removed
from maou.records.containers import GAME_SUFFIXES, HCPE_CONTAINERS, open_hcpe_shard
from maou.records.preprocess_containers import (
    PREPROCESS_CONTAINERS,
    open_preprocess_shard,
)
from maou.records.preprocess_shards import HCPE_REMEDY, PreprocessShard
from maou.records.shards import Shard
from maou.records.stage_shards import STAGES, SUFFIX, StageShard
from maou.sources.arrivals import Arrivals

S = TypeVar("S", Shard, PreprocessShard, StageShard)


@dataclass(frozen=True)
class ShardSet(Generic[S]):
    """The opened shards of a source, in a fixed order.

    Attributes:
        shards: the shards, sorted by their path below `root`.
        root: the folder that names are relative to.
        ignored: files below the folder whose suffix is no container's.
        names: what the shards are called where they came from, if that is not their
            path below `root`.
        where: the place that such names are below, as a URL; empty for local files.
        origin: where they came from and how, for the plan; empty for local files.
        arriving: what brings them, if they are read while they come from a store.
        keep: what must live as long as the shards do, such as the cache's lease.
    """

    shards: tuple[S, ...]
    root: Path
    ignored: tuple[Path, ...] = ()
    names: tuple[str, ...] = ()
    where: str = ""
    origin: str = ""
    arriving: Arrivals | None = field(default=None, repr=False, compare=False)
    keep: object = field(default=None, repr=False, compare=False)

    @property
    def rows(self) -> int:
        """Number of records in all shards."""
        return sum(shard.rows for shard in self.shards)

    def name(self, index: int) -> str:
        """Name a shard by its path below the root, here or where it came from."""
        if self.names:
            return self.names[index]
        return self.shards[index].path.relative_to(self.root).as_posix()

    def version(self, index: int) -> str:
        """Tell a shard from what was there before: its time, or its name in a cache.

        The cache names its entries by what they hold, and touches them.
        """
        path = self.shards[index].path
        return path.name if self.where else str(path.stat().st_mtime_ns)

    def shown(self, text: str) -> str:
        """Name the shards in a message by where they came from."""
        for name, shard in zip(self.names, self.shards, strict=False):
            text = text.replace(str(shard.path), f"{self.where}{name}")
        return text

    @contextlib.contextmanager
    def naming(self) -> Iterator[None]:
        """Let errors name the shards by where they came from.

        Raises:
            RemoteError: somebody removed them from the cache.
        """
        try:
            yield
        except Interrupted:
            raise
        except MaouError as error:
            if self.where and isinstance(error, DataError) and self._some_are_gone():
                raise cache_removed(self.root) from error
            text = self.shown(str(error))
            if text == str(error):
                raise
            raise type(error)(text) from error

    def _some_are_gone(self) -> bool:
        return not all(shard.path.exists() for shard in self.shards)

    def fingerprint(self) -> str:
        """Identify the data by names, sizes and ends of the shards: 16 hex digits."""
        return self._fingerprint

    @functools.cached_property
    def _fingerprint(self) -> str:
        """Read the ends of every shard, once: plan, resume and record all ask."""
        digest = hashlib.sha256()
        for index, shard in enumerate(self.shards):
            digest.update(os.fsencode(self.name(index)))  # not every name is UTF-8
            digest.update(f"\0{shard.rows}\0".encode())
            for row in (0, shard.rows - 1):
                digest.update(_identity(shard, row))
        return digest.hexdigest()[:16]


PlayedShards = ShardSet[Shard] | ShardSet[PreprocessShard]
"""Shards of what was played, as stage 3 learns it."""

AnyShards = PlayedShards | ShardSet[StageShard]
"""The shards of a source, of any kind."""


@dataclass(frozen=True)
class Kind(Generic[S]):
    """One kind of shards, as a source looks for them.

    Attributes:
        suffixes: what their files end in.
        open: opens one.
        instead: what to say of a source without them that has files of a suffix.
        form: what they hold where they are the rows of a table: `hcpe`, `packed` or
            `dense`.
    """

    suffixes: tuple[str, ...]
    open: Callable[[Path], S]
    instead: Mapping[str, str] = field(default_factory=dict)
    form: str = ""


def hcpe_kind() -> Kind[Shard]:
    """Describe shards of hcpe records."""
    return Kind(tuple(HCPE_CONTAINERS), open_hcpe_shard, form="hcpe")


def preprocess_kind(packed: bool) -> Kind[PreprocessShard]:
    """Describe shards of preprocess records, packed or dense."""
    return Kind(
        tuple(sorted({suffix for suffix, _ in PREPROCESS_CONTAINERS})),
        lambda file: open_preprocess_shard(file, packed),
        dict.fromkeys(GAME_SUFFIXES, HCPE_REMEDY),
        "packed" if packed else "dense",
    )


def open_local_shards(path: Path) -> ShardSet[Shard]:
    """Open a file, or every shard below a folder.

    Files are ordered by name, so that the same folder gives the same order on every
    machine. Hidden files and unknown suffixes are left alone; the latter are listed.

    Raises:
        DataError: nothing there, or a file is not what its suffix says.
    """
    return open_kind(path, "--input-path", hcpe_kind())


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
    return open_kind(path, flag, preprocess_kind(packed))


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
    kind = Kind((SUFFIX,), lambda file: StageShard(file, stage), instead)
    return open_kind(path, flag, kind)


def open_kind(path: Path, flag: str, kind: Kind[S]) -> ShardSet[S]:
    """Open a file of a kind, or every one below a folder.

    Args:
        path: the file or folder.
        flag: where the path came from, for messages.
        kind: what the shards are.

    Raises:
        DataError: nothing there, or a file is not what its suffix says.
    """
    known, ignored = find_shards(path, flag, kind.suffixes, kind.instead)
    root = path.parent if path.is_file() else path
    try:
        shards = tuple(kind.open(file) for file in known)
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
        DataError: nothing there, or links, pipes, sockets or devices in the folder.
    """
    if not path.is_dir():
        _require_file(path, flag)
        return [path], []
    names = files_below(path, f"{flag} {path}")
    known, ignored = choose_names(names, f"{flag} {path}", suffixes, instead)
    return [path / name for name in known], [path / name for name in ignored]


def _require_file(path: Path, flag: str) -> None:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise DataError(f"{flag} {path}: no such file or folder") from None
    except OSError as error:
        raise DataError(f"{flag} {path}: {error.strerror or error}") from error
    if not stat.S_ISREG(mode):
        raise DataError(
            f"{flag} {path}: is {kind_of(mode)}, not a regular file or a folder"
        )


def choose_names(
    names: Iterable[str],
    where: str,
    suffixes: tuple[str, ...],
    instead: Mapping[str, str] = MappingProxyType({}),
) -> tuple[list[str], list[str]]:
    """Order the names below a folder, of whatever store, and tell shards from others.

    Args:
        names: paths below the folder, with `/`; hidden ones are left out.
        where: the folder, for messages.
        suffixes, instead: as in `find_shards`.

    Returns:
        The shards' names and the others, both sorted.

    Raises:
        DataError: no shards.
    """
    found = sorted(name for name in names if not _is_hidden(name))
    known = [name for name in found if _suffix(name).lower() in suffixes]
    ignored = [name for name in found if _suffix(name).lower() not in suffixes]
    if not known:
        for name in ignored:
            if _suffix(name).lower() in instead:
                raise DataError(f"{where}: {instead[_suffix(name).lower()]}")
        seen = ", ".join(sorted({_suffix(name) or "none" for name in ignored}))
        raise DataError(
            f"{where}: no shards here; looked for {', '.join(suffixes)}"
            + (f" and found only files with suffix {seen}" if seen else "")
        )
    return known, ignored


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))
