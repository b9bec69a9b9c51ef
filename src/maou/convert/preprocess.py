"""hcpe shards to preprocess records: the run of `maou pre-process`.

Four phases, each of jobs that leave whole files, so that a run that was stopped goes on
with the jobs whose files are missing:

- split: mark the rows of each shard that are held out, by game;
- spill: code the positions of some rows, add up equal ones, leave a sorted run;
- merge: add up a range of positions from all runs, leave it as packed positions;
- write: cut those into shards of the wanted form.

Positions are ordered by a hash of their code, and ranges cover that order, so the
shards depend neither on the order of the input nor on threads or memory. Threads do the
work because kernels and files release the interpreter lock: processes would each take
150 MB of the memory limit for the compiler alone.
"""

import contextlib
import gc
import json
import shutil
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from maou.convert.config_preprocess import PreProcessConfig
from maou.convert.memory import resident_bytes, return_freed_memory
from maou.convert.merging import Merge, Ranges, plan_merges, sliced
from maou.convert.pool import available_cores
from maou.convert.preprocess_input import Input, Task
from maou.convert.preprocess_state import (
    PHASES,
    SIDES,
    State,
    begin_or_resume,
    save_json,
)
from maou.convert.progress import require_sizes, sole_use
from maou.convert.spill import (
    MERGE_BYTES,
    Entries,
    Run,
    combined,
    enter_excluded,
    enter_rows,
    grouped,
    merge_runs,
    write_run,
)
from maou.errors import ConfigError, MaouError
from maou.files import atomic_write
from maou.records.split import describe_split, mark_by_game, unpacked
from maou.records.write_preprocess import write_preprocess_shard

_TASK_BYTES = 36_000_000  # what a job of any phase but merge takes at most
_SPLIT_BYTES = 60_000_000  # what the split takes beside its marks
_OWN_BYTES = 8_000_000  # lists of jobs, sums of cells
_MOST_MERGED = 8_000_000  # entries merged at once; more would not be faster
_FEWEST_MERGED = 65_536
_CELL_ROWS = 16_384  # rows in a cell, about
_MOST_CELL_BITS = 16

# The start position and 7g7f, to load the kernels before memory is measured.
_START = bytes.fromhex(
    "58a449210cd757217e8e4d212caf427814c2ab109e4d212cd75f213e8e49210c"
)

_SHARES = {"split": 0.05, "spill": 0.55, "merge": 0.3, "write": 0.1}


@dataclass(frozen=True)
class Report:
    """How far the work is, or what came of it.

    Attributes:
        state: what is finished.
        phase: what is being done.
        fraction: share of all work that is done.
        seconds: how long this run has taken.
        resumed: whether an earlier run had done a part.
        worked: whether there was anything left to do.
        threads: how many threads work.
    """

    state: State
    phase: str
    fraction: float
    seconds: float
    resumed: bool
    worked: bool
    threads: int


class Cut(NamedTuple):
    """An output shard: positions [start, stop) of one side."""

    side: int
    number: int
    start: int
    stop: int


Job = TypeVar("Job")


def pre_process(
    config: PreProcessConfig,
    tell: Callable[[Report], None] = lambda _: None,
    note: Callable[[str], None] = lambda _: None,
) -> Report:
    """Aggregate hcpe shards, going on where an earlier run stopped.

    Args:
        config: what to aggregate, and how.
        tell: called after each job with how far the work is.
        note: called with lines about the progress of a fetch.

    Raises:
        ConfigError: the output folder holds other work, or too little memory.
        DataError: no shards, damaged shards, or a row that is no sample.
        RemoteError: shards that cannot be fetched.
        MaouError: every position was excluded.
        OSError: the output cannot be written.
    """
    source = Input(config, note)
    config.output_dir.mkdir(parents=True, exist_ok=True)
    with sole_use(config.output_dir), source.source.naming():
        state, resumed = begin_or_resume(config, source.digests)
        run = _Run(config, source, state, tell)
        run.resumed = resumed
        if state.phase == "complete":
            require_sizes(state.shards, config.output_dir)
        else:
            run.work()
        run.clean_up()
        return run.report()


class _Run:
    """One run over the phases that are left."""

    def __init__(
        self,
        config: PreProcessConfig,
        source: Input,
        state: State,
        tell: Callable[[Report], None],
    ) -> None:
        self.config, self.source = config, source
        self.state, self.tell = state, tell
        self.folder = config.output_dir
        self.spilled = config.output_dir / "spilled"
        self.began = time.monotonic()
        self.resumed = self.worked = False
        self.fraction = 1.0
        self.threads = available_cores() if config.workers is None else config.workers
        bits = (max(1, source.rows // _CELL_ROWS)).bit_length()
        self.cell_bits = min(bits, _MOST_CELL_BITS)

    def report(self) -> Report:
        """Say how far the work is."""
        return Report(
            self.state,
            self.state.phase,
            self.fraction,
            time.monotonic() - self.began,
            self.resumed,
            self.worked,
            self.threads,
        )

    def work(self) -> None:
        """Do the phases that are left, each recorded when it is finished."""
        self.worked = True
        gc.collect()  # boards of rsshogi may not be freed by the threads to come
        return_freed_memory()
        self.spilled.mkdir(exist_ok=True)
        for unfinished in (*self.spilled.glob(".*"), *self.folder.glob("*/.pre*")):
            unfinished.unlink()  # what an interrupted write left behind
        phases = (self._split, self._spill, self._merge, self._write)
        for name, phase in zip(PHASES, phases, strict=False):
            if PHASES.index(self.state.phase) <= PHASES.index(name):
                self._plan_memory()  # anew, as the program itself grows a little
                phase()
                self.state.phase = PHASES[PHASES.index(name) + 1]
                self.state.save(self.folder)

    def clean_up(self) -> None:
        """Remove what was spilled, once the work is complete."""
        if self.spilled.exists():
            shutil.rmtree(self.spilled)

    def _plan_memory(self) -> None:
        """Find how many threads, and entries merged by each, the limit allows."""
        _load_kernels()
        own = resident_bytes() + _OWN_BYTES
        needed = _TASK_BYTES
        if self.state.phase == "split":
            marks = max(shard.rows for shard in self.source.shards) // 4
            needed = max(needed, _SPLIT_BYTES + marks)
        left = self.config.memory_bytes - own
        threads = min(self.threads, left // _TASK_BYTES)
        if left < needed:
            least = own + needed
            raise ConfigError(
                f"--memory-limit {self.config.memory_limit}: too little; the program "
                f"itself takes {own / 1e6:.0f} MB, and this input needs at least "
                f"{-(-least // 1_000_000)}MB"
            )
        self.threads = threads
        self.most_merged = min(_MOST_MERGED, left // (threads * MERGE_BYTES))

    def _each(
        self,
        work: Callable[[Job], Any],
        jobs: Sequence[Job],
        done: Callable[[Job, Any], None],
    ) -> None:
        """Do jobs in threads; take up their results in order."""
        before = sum(_SHARES[name] for name in PHASES[: self._number()])
        share = _SHARES[self.state.phase]
        with (
            ThreadPoolExecutor(self.threads) as pool,
            contextlib.closing(_results(pool, work, jobs)) as results,
        ):
            for number, (job, result) in enumerate(results, 1):
                done(job, result)
                self.fraction = before + share * number / len(jobs)
                self.tell(self.report())

    def _number(self) -> int:
        return PHASES.index(self.state.phase)

    # Split.

    def _split(self) -> None:
        def keep(index: int, marks: npt.NDArray[np.uint8]) -> None:
            with atomic_write(self._marks(index)) as stream:
                stream.write(marks.tobytes())
            held[index] = int(np.bitwise_count(marks).sum(dtype=np.int64))

        held: dict[int, int] = {}
        mark_by_game(self.source.shards, self.config.test_ratio, self.config.seed, keep)
        validation = sum(held.values())
        self.state.rows = [self.source.rows - validation, validation]
        self.state.unit, warning = describe_split(self.source.shards)
        self.state.warning = self.source.source.shown(warning)

    def _marks(self, shard: int) -> Path:
        return self.spilled / f"split-{shard:06d}"

    # Spill.

    def _run_path(self, number: int) -> Path:
        return self.spilled / f"run-{number:07d}"

    def _spill(self) -> None:
        def work(job: tuple[int, Task]) -> None:
            number, task = job
            path = self._run_path(number)
            if not path.exists():
                write_run(path, self._spilled_sides(task), self.cell_bits)

        self._each(work, list(enumerate(self.source.tasks())), lambda _, __: None)

    def _spilled_sides(self, task: Task) -> list[Entries]:
        entries, ids = self.source.entered(task)
        if task.excluded:
            return [combined(entries, ids), entries[:0]]
        first, last = task.start // 8, (task.stop + 7) // 8
        marks = np.fromfile(
            self._marks(task.shard), np.uint8, count=last - first, offset=first
        )
        held = unpacked(marks, task.start, task.stop)
        return [combined(entries[side], ids[side]) for side in (~held, held)]

    # Merge.

    def _merge(self) -> None:
        runs = [
            (Run(self._run_path(number)), task.excluded)
            for number, task in enumerate(self.source.tasks())
        ]

        def work(job: tuple[int, Merge]) -> dict[str, int]:
            return self._merge_range(runs, *job)

        def done(job: tuple[int, Merge], counts: dict[str, int]) -> None:
            side = job[1].side
            for name, count in counts.items():
                sums[name][side] += count

        names = ("positions", "moves", "excluded_positions", "excluded_rows")
        sums = {name: [0, 0] for name in names}
        jobs = list(enumerate(self._planned(runs)))
        self._each(work, jobs, done)
        for name, values in sums.items():
            setattr(self.state, name, values)
        if not sum(self.state.positions):
            raise MaouError("--exclude: every position of the input was left out")

    def _planned(self, runs: list[tuple[Run, bool]]) -> list[Merge]:
        """Plan the merges, or take the plan of an earlier run if memory allows it."""
        path = self.spilled / "merges.json"
        with contextlib.suppress(FileNotFoundError, ValueError, TypeError):
            found = [Merge(*item) for item in json.loads(path.read_bytes())["merges"]]
            if max(merge.entries for merge in found) <= self.most_merged:
                return found
        for old in self.spilled.glob("range-*"):
            old.unlink()
        plan = plan_merges(runs, 1 << self.cell_bits, self.most_merged)
        needed = max(merge.entries for merge in plan)
        if needed > max(self.most_merged, _FEWEST_MERGED):
            raise ConfigError(
                f"--memory-limit {self.config.memory_limit}: too little for "
                f"{self.threads} threads to merge {needed:,} entries each; give more, "
                "or fewer --workers"
            )
        save_json(path, {"merges": plan})
        return plan

    def _merge_range(
        self, runs: list[tuple[Run, bool]], number: int, merge: Merge
    ) -> dict[str, int]:
        path = self._range_path(merge.side, number)
        summary = path.with_suffix(".json")
        if summary.exists():
            counts: dict[str, int] = json.loads(summary.read_bytes())
            return counts
        sides = [(run, 0 if excluded else merge.side) for run, excluded in runs]
        made = merge_runs(sides, (merge.first, merge.last), merge.entries)
        positions, moves = len(made.block.codes), len(made.block.labels)
        if positions:
            write_preprocess_shard(
                path,
                lambda start, stop: sliced(made.block, start, stop),
                positions,
                moves,
                packed=True,
            )
        counts = {
            "positions": positions,
            "moves": moves,
            "excluded_positions": made.excluded_positions,
            "excluded_rows": made.excluded_rows,
        }
        save_json(summary, counts)
        return counts

    def _range_path(self, side: int, number: int) -> Path:
        return self.spilled / f"range-{SIDES[side]}-{number:06d}.npy"

    # Write.

    def _write(self) -> None:
        for path in self.spilled.glob("run-*"):
            path.unlink()  # merged; their room may be needed
        ranges = [
            Ranges(sorted(self.spilled.glob(f"range-{side}-*.npy"))) for side in SIDES
        ]
        limit = self.config.shard_rows
        cuts = [
            Cut(side, number, start, min(start + limit, positions))
            for side, positions in enumerate(self.state.positions)
            for number, start in enumerate(range(0, positions, limit))
        ]
        self.state.shards = []

        def work(cut: Cut) -> dict[str, Any]:
            return self._write_shard(ranges[cut.side], cut)

        self._each(work, cuts, lambda _, shard: self.state.shards.append(shard))

    def _write_shard(self, ranges: "Ranges", cut: Cut) -> dict[str, Any]:
        suffix = self.config.output_format
        name = f"{SIDES[cut.side]}/preprocess-{cut.number:05d}.{suffix}"
        path = self.folder / name
        count = cut.stop - cut.start
        if not path.exists():
            write_preprocess_shard(
                path,
                lambda start, stop: ranges.read(cut.start + start, cut.start + stop),
                count,
                ranges.moves(cut.start, cut.stop),
                self.config.packed,
            )
        return {"name": name, "positions": count, "bytes": path.stat().st_size}


def _results(
    pool: ThreadPoolExecutor, work: Callable[[Job], Any], jobs: Sequence[Job]
) -> Generator[tuple[Job, Any], None, None]:
    futures = [pool.submit(work, job) for job in jobs]
    try:
        for job, future in zip(jobs, futures, strict=True):
            yield job, future.result()
    finally:
        for future in futures:
            future.cancel()


def _load_kernels() -> None:
    rows = np.zeros((1, 38), dtype=np.uint8)
    rows[0, :32] = np.frombuffer(_START, dtype=np.uint8)
    rows[0, 34:36] = np.frombuffer((59 | 60 << 7).to_bytes(2, "little"), dtype=np.uint8)
    grouped(combined(*enter_rows(rows)))
    grouped(combined(*enter_excluded(rows)))
