"""What `maou pre-process` reads: shards of records, and shards to leave out."""

import contextlib
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from maou.convert.config_preprocess import PreProcessConfig
from maou.convert.preprocess_state import digest_of
from maou.convert.spill import Entries, Ids, combined, enter_excluded, enter_rows
from maou.errors import DataError
from maou.records.containers import HCPE_CONTAINERS, open_hcpe_shard
from maou.records.preprocess_containers import kind_of_file, open_preprocess_shard
from maou.records.preprocess_shards import PreprocessShard
from maou.records.shards import Rows, Shard
from maou.sources.local import find_shards
from maou.sources.opening import open_hcpe

TASK_ROWS = 65_536
"""Rows of a run, but for feather's record batches, which are not cut lightly."""


class Task(NamedTuple):
    """Rows [start, stop) of an input shard, or of one whose positions are left out."""

    excluded: bool
    shard: int
    start: int
    stop: int


class Piece(NamedTuple):
    """The rows of a task in memory, to be entered here or on another machine."""

    excluded: bool
    path: str
    start: int
    rows: Rows

    def entered(self) -> tuple[Entries, Ids]:
        """Make entries of the rows, with their ids.

        Raises:
            DataError: a row is no sample; the message names file and row.
        """
        try:
            return enter_excluded(self.rows) if self.excluded else enter_rows(self.rows)
        except ValueError as error:
            row, reason = error.args
            raise DataError(
                f"{self.path}: row {self.start + row}: {reason}; remove the row, or "
                "write the shard again"
            ) from error

    def sides(self, held: npt.NDArray[np.bool_]) -> list[Entries]:
        """Add the rows up, those to train on and those held out; for sorted runs.

        What is left out counts for both sides and stands with the first.

        Args:
            held: which rows are held out, bool [n]; of no use for what is left out.

        Raises:
            DataError: as `entered` does.
        """
        entries, ids = self.entered()
        if self.excluded:
            return [combined(entries, ids), entries[:0]]
        return [combined(entries[side], ids[side]) for side in (~held, held)]


class Input:
    """The opened shards.

    Attributes:
        source: where the shards to aggregate came from.
        shards: the shards to aggregate, in the order of their names.
        excluded: the shards whose positions are left out.
        digests: what the shards of each flag are, to notice a change.
    """

    def __init__(
        self, config: PreProcessConfig, note: Callable[[str], None] = lambda _: None
    ) -> None:
        """Open everything by its header.

        Args:
            config: what to aggregate, and what to leave out.
            note: called with lines about the progress of a fetch.

        Raises:
            DataError: no shards, or files that are no shards.
            RemoteError: shards that cannot be fetched.
        """
        self.source = source = open_hcpe(config, note)
        self.shards: tuple[Shard, ...] = source.shards
        self.excluded, excluded_digest = self.opened_excluded(config)
        (flag,) = config.sources()
        self.digests = {
            flag: digest_of(
                (source.name(index), shard.path, source.version(index))
                for index, shard in enumerate(self.shards)
            ),
            "--exclude": excluded_digest,
        }

    @staticmethod
    def opened_excluded(
        config: PreProcessConfig,
    ) -> tuple[Sequence[Shard | PreprocessShard], str]:
        """Open the shards to leave out; give them and their digest."""
        shards = [shard for path in config.exclude for shard in open_excluded(path)]
        digest = digest_of(
            (s.path.name, s.path, str(s.path.stat().st_mtime_ns)) for s in shards
        )
        return shards, digest

    def naming(self) -> contextlib.AbstractContextManager[None]:
        """Have messages name objects of a store by their URL."""
        return self.source.naming()

    @property
    def rows(self) -> int:
        """Number of rows to aggregate."""
        return sum(shard.rows for shard in self.shards)

    def tasks(self) -> list[Task]:
        """Cut the shards into tasks; they depend on the shards alone."""
        tasks = []
        for excluded, shards in ((False, self.shards), (True, self.excluded)):
            for number, shard in enumerate(shards):
                bounds = shard.block_bounds(TASK_ROWS).tolist()
                for start, stop in itertools.pairwise(bounds):
                    step = TASK_ROWS if stop - start > 2 * TASK_ROWS else stop - start
                    tasks += [
                        Task(excluded, number, at, min(at + step, stop))
                        for at in range(start, stop, max(1, step))
                    ]
        return tasks

    def read(self, task: Task) -> Piece:
        """Read the rows of a task.

        Raises:
            DataError: the file cannot be read.
        """
        shard = (self.excluded if task.excluded else self.shards)[task.shard]
        read = shard.codes if isinstance(shard, PreprocessShard) else shard.read
        rows = read(task.start, task.stop)
        return Piece(task.excluded, str(shard.path), task.start, rows)


def open_excluded(path: Path) -> list[Shard | PreprocessShard]:
    """Open the shards of --exclude, whatever their records.

    Raises:
        DataError: nothing there, or a file that holds no positions.
    """
    opened: list[Shard | PreprocessShard] = []
    for file in find_shards(path, "--exclude", tuple(HCPE_CONTAINERS))[0]:
        kind = kind_of_file(file)
        if kind in ("packed", "dense"):
            opened.append(open_preprocess_shard(file, kind == "packed"))
        else:
            opened.append(open_hcpe_shard(file))
    return opened
