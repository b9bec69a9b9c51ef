"""Game files to hcpe shards: the run of `maou hcpe-convert`.

Tasks are parsed in parallel and taken up in order, and shards are cut from that one
stream, so the output depends neither on the number of workers nor on interruptions.
Memory holds one shard and a few tasks, whatever the size of the input.
"""

import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from maou.convert.config import HcpeConvertConfig
from maou.convert.inputs import Inputs, game_id, plan_tasks
from maou.convert.pool import Ticket, Workers, available_cores
from maou.convert.progress import (
    REPORT_FILE,
    REPORT_HEAD,
    Cursor,
    Progress,
    load_progress,
    require_no_links,
    require_same_work,
    require_shards,
    sole_use,
)
from maou.convert.remote_inputs import open_inputs
from maou.convert.rows import Filters
from maou.convert.tasks import (
    Converted,
    Outcome,
    Shard,
    convert_task,
    joined,
    write_shard,
)
from maou.errors import ConfigError
from maou.settings import as_plain, settings_of
from maou.sources.config import InputConfig
from maou.text import printable

SHARD_ROWS = 500_000
"""Default rows a shard: 16 MB of feather or 65 MB of npy, half a second to write."""

_RAW_SHARDS, _FEWEST_RAW_ROWS = 20, 2_000
# Typical bytes a position takes in a file, for the number of raw shards alone.
_POSITION_BYTES = {"csa": 16, "kif": 34, "ki2": 9}

_IN_FLIGHT = 3  # tasks a worker that are parsed ahead of the one taken up


@dataclass(frozen=True)
class Report:
    """How far a conversion is, or what came of it.

    Attributes:
        progress: games and positions so far, those of unfinished shards included.
        positions: rows converted so far, those of unfinished shards included.
        run_positions: of these, the rows that this run converted.
        seconds: how long this run has taken.
        fraction: share of the input that has been read.
        resumed: whether an earlier run had done a part.
    """

    progress: Progress
    positions: int
    run_positions: int
    seconds: float
    fraction: float
    resumed: bool


class _Cut(NamedTuple):
    progress: Progress
    rejects: list[bytes]
    shard: Shard | None
    ticket: Ticket | None


def convert_games(
    config: HcpeConvertConfig,
    tell: Callable[[Report], None] = lambda _: None,
    note: Callable[[str], None] = lambda _: None,
) -> Report:
    """Convert game files to shards, going on where an earlier run stopped.

    Args:
        config: what to convert, and how.
        tell: called after each task with how far the conversion is.
        note: called with lines about the progress of a fetch.

    Raises:
        ConfigError: no such input, or the output folder holds other work.
        RemoteError: game files that cannot be fetched.
        DataError: no game files, or a damaged output folder.
        MaouError: a worker died.
        OSError: the output cannot be written.
    """
    inputs = open_inputs(config, note)
    wanted = Progress(_settings(config, inputs), _described(inputs))
    folder = config.output_dir
    folder.mkdir(parents=True, exist_ok=True)
    with sole_use(folder):
        found = load_progress(folder)
        if found is None:
            _require_no_shards(folder)
            wanted.save(folder)
        else:
            require_same_work(found, wanted, folder)
            if found.shards or found.complete:
                require_shards(found, folder)
            wanted = found
        run = _Run(config, inputs, wanted, tell)
        run.resumed = found is not None
        if not wanted.complete:
            run.convert()
        return run.report()


class _Run:
    """One run: the stream of games, cut into shards that are finished in order."""

    def __init__(
        self,
        config: HcpeConvertConfig,
        inputs: Inputs,
        progress: Progress,
        tell: Callable[[Report], None],
    ) -> None:
        self.config, self.inputs, self.tell = config, inputs, tell
        self.processes = available_cores() if config.workers is None else config.workers
        self.progress = progress
        self.done = progress.snapshot()  # what is finished on disk
        self.limit: int = progress.settings["shard_rows"]
        self.began, self.before = time.monotonic(), progress.positions
        self.resumed = False
        self.fraction = 1.0 if progress.complete else 0.0
        self.games: list[tuple[str, Outcome]] = []
        self.parts: list[Converted] = []
        self.rows = 0
        self.rejects: list[bytes] = []
        self.cuts: deque[_Cut] = deque()

    def report(self) -> Report:
        """Say how far the conversion is."""
        positions = self.progress.positions
        return Report(
            self.done if self.done.complete else self.progress,
            positions,
            positions - self.before,
            time.monotonic() - self.began,
            self.fraction,
            self.resumed,
        )

    def convert(self) -> None:
        """Convert everything after the cursor."""
        folder, start = self.config.output_dir, self.progress.cursor
        for pattern in (".hcpe-[0-9]*", ".hcpe-convert.json.*"):
            for unfinished in folder.glob(pattern):
                unfinished.unlink()  # what an interrupted write left behind
        report = folder / REPORT_FILE
        require_no_links(report)
        if self.progress.shards:
            os.truncate(report, self.progress.report_bytes)
        else:
            report.write_bytes(REPORT_HEAD)
        tasks = plan_tasks(self.inputs)
        left = len(tasks) - start.task
        count = min(self.processes, left) if left > 1 else 0
        with Workers(count) as self.workers:
            self._take_all(tasks, start)
            self._cut(complete=True)
            self._finish(0)

    def _take_all(self, tasks: list[Any], start: Cursor) -> None:
        root, filters = self.inputs.root, Filters.of(self.config)
        ahead: deque[Ticket] = deque()
        window = _IN_FLIGHT * max(1, self.processes)
        coming = iter(tasks[start.task :])
        size, read = max(1, self.inputs.size), 0
        for number, task in enumerate(tasks):
            if number >= start.task:
                while len(ahead) < window and (next_task := next(coming, None)):
                    ahead.append(
                        self.workers.submit(convert_task, root, next_task, filters)
                    )
                converted = self.workers.result(ahead.popleft())
                skip = start.games if number == start.task else 0
                self._take(number, converted, skip)
            read += sum(piece.stop - piece.start for piece in task)
            self.fraction = read / size
            if number >= start.task:
                self.tell(self.report())

    def _take(self, task: int, converted: Converted, skip: int) -> None:
        """Take up the games of a task, cutting shards where they are full."""
        outcomes = converted.outcomes
        at = begin = sum(outcome.rows for outcome in outcomes[:skip])
        cursor = self.progress.cursor
        for done, outcome in enumerate(outcomes[skip:], skip):
            if self.rows and self.rows + outcome.rows > self.limit:
                self._add(converted, begin, at)
                self._cut()
                begin = at
            number = cursor.number + 1 if outcome.file == cursor.file else 1
            cursor = Cursor(task, done + 1, outcome.file, number)
            self.progress.cursor = cursor
            self._count(outcome, number)
            at += outcome.rows
        self._add(converted, begin, at)
        self.progress.cursor = Cursor(task + 1, 0, cursor.file, cursor.number)

    def _count(self, outcome: Outcome, number: int) -> None:
        path = self.inputs.files[outcome.file][0]
        if outcome.reason:
            kind = outcome.reason.split(":", 1)[0]
            counts = self.progress.rejected
            cells = (path, str(number), str(outcome.ply), outcome.reason)
            line = "\t".join(map(printable, cells))
            self.rejects.append(f"{line}\n".encode())
        elif outcome.filter:
            kind, counts = outcome.filter, self.progress.filtered
        else:
            self.progress.converted += 1
            self.progress.positions += outcome.rows
            self.rows += outcome.rows
            self.games.append((game_id(path, number), outcome))
            return
        counts[kind] = counts.get(kind, 0) + 1

    def _add(self, converted: Converted, begin: int, stop: int) -> None:
        if stop > begin:
            part = slice(begin, stop)
            self.parts.append(
                Converted([], converted.rows[part], converted.plies[part])
            )

    def _cut(self, complete: bool = False) -> None:
        """Hand the rows gathered so far to a worker to write as one shard."""
        shard = ticket = None
        if self.rows:
            name = f"hcpe-{len(self.progress.shards):05d}.{self.config.output_format}"
            shard = Shard(
                self.config.output_dir / name,
                self.config.output_format,
                self.games,
                joined([part.rows for part in self.parts]),
                np.concatenate([part.plies for part in self.parts]),
            )
            self.progress.shards.append({"name": name, "rows": self.rows, "bytes": 0})
            ticket = self.workers.submit(write_shard, shard, first=True)
        progress = self.progress.snapshot()
        progress.complete = complete
        self.cuts.append(_Cut(progress, self.rejects, shard, ticket))
        self.games, self.parts, self.rows, self.rejects = [], [], 0, []
        self._finish(1)

    def _finish(self, unfinished: int) -> None:
        """Record finished shards in order, leaving at most some unfinished."""
        folder = self.config.output_dir
        while len(self.cuts) > unfinished:
            cut = self.cuts.popleft()
            if cut.ticket is not None:
                size = self.workers.result(cut.ticket)
                cut.progress.shards[-1]["bytes"] = size
            with (folder / REPORT_FILE).open("ab") as stream:
                stream.writelines(cut.rejects)
                stream.flush()
                os.fsync(stream.fileno())
            length = self.done.report_bytes + sum(map(len, cut.rejects))
            cut.progress.report_bytes = self.progress.report_bytes = length
            cut.progress.save(folder)
            self.done = cut.progress


def _settings(config: HcpeConvertConfig, inputs: Inputs) -> dict[str, Any]:
    """Return the settings that the output depends on."""
    plain = as_plain(config)
    where = [bound.name for bound in settings_of(InputConfig)]
    for name in (*where, "output_dir", "workers"):
        del plain[name]
    if config.shard_rows is None:
        plain["shard_rows"] = SHARD_ROWS
        if config.output_format == "hcpe":
            # A reader keeps each raw shard whole when it splits off validation data.
            positions = sum(
                size // _POSITION_BYTES[kind]
                for (_, size), kind in zip(inputs.files, inputs.formats, strict=True)
            )
            rows = max(_FEWEST_RAW_ROWS, positions // _RAW_SHARDS)
            plain["shard_rows"] = min(SHARD_ROWS, rows)
    return plain


def _described(inputs: Inputs) -> dict[str, Any]:
    return {
        "files": len(inputs.files),
        "bytes": inputs.size,
        "digest": inputs.digest,
    }


def _require_no_shards(folder: Path) -> None:
    strangers = sorted(folder.glob("hcpe-[0-9]*.*"))
    if strangers:
        raise ConfigError(
            f"--output-dir: {folder} holds shards such as {strangers[0].name} of a "
            "conversion that is unknown; give another folder or remove them"
        )
