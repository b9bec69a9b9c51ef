"""The phases of `maou pre-process` in threads of this process: `--engine threads`.

Threads do the work because kernels and files release the interpreter lock: processes
would each take 150 MB of the memory limit for the compiler alone.
"""

import contextlib
import gc
import shutil
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from maou.convert.config_preprocess import PreProcessConfig
from maou.convert.memory import resident_bytes, return_freed_memory
from maou.convert.merging import Merge, Ranges, plan_merges, sliced
from maou.convert.pool import available_cores
from maou.convert.preprocess_input import Input, Task
from maou.convert.preprocess_state import PHASES, SIDES, Report, State, save_json
from maou.convert.spill import (
    MERGE_BYTES,
    Grouped,
    Run,
    combined,
    enter_excluded,
    enter_rows,
    grouped,
    merge_runs,
    write_run,
)
from maou.convert.state_fields import counts as counts_of
from maou.convert.state_fields import whole
from maou.errors import ConfigError, MaouError
from maou.files import atomic_write
from maou.reading import read_json
from maou.records.split import describe_split, mark_by_game, unpacked
from maou.records.write_preprocess import write_preprocess_shard

SPILLED = "spilled"
"""The folder of what phases leave for each other, in the output folder."""

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

_COUNTED = ("positions", "moves", "excluded_positions", "excluded_rows")

_SHARES = {"split": 0.05, "spill": 0.55, "merge": 0.3, "write": 0.1}


class Cut(NamedTuple):
    """An output shard: positions [start, stop) of one side."""

    side: int
    number: int
    start: int
    stop: int


Job = TypeVar("Job")


class ThreadsEngine:
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
        self.spilled = config.output_dir / SPILLED
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

    def phases(self) -> tuple[Callable[[], None], ...]:
        """Return what does each of `PHASES` but the last, which is the end."""
        return (self._split, self._spill, self._merge, self._write)

    def begin(self) -> None:
        """Go back to a phase whose files are missing: another engine made none."""
        missing = not all(path.exists() for path, _ in self.runs())
        if self.state.phase == "merge" and missing:
            self.state.phase = "spill"

    def work(self) -> None:
        """Do the phases that are left, each recorded when it is finished."""
        self.worked = True
        gc.collect()  # boards of rsshogi may not be freed by the threads to come
        return_freed_memory()
        self.spilled.mkdir(exist_ok=True)
        for unfinished in (*self.spilled.glob(".*"), *self.folder.glob("*/.pre*")):
            unfinished.unlink()  # what an interrupted write left behind
        self.begin()
        for name, phase in zip(PHASES, self.phases(), strict=False):
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
            marks = max((s.rows for s in self.source.shards), default=0) // 4
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
        with (
            ThreadPoolExecutor(self.threads) as pool,
            contextlib.closing(_results(pool, work, jobs)) as results,
        ):
            for number, (job, result) in enumerate(results, 1):
                done(job, result)
                self.fraction = self.share_done(number / len(jobs))
                self.tell(self.report())

    def share_done(self, share: float) -> float:
        """Return the share of all work that is done when so much of the phase is."""
        before = PHASES[: PHASES.index(self.state.phase)]
        done = sum(_SHARES[name] for name in before)
        return done + share * _SHARES[self.state.phase]

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

    def runs(self) -> list[tuple[Path, bool]]:
        """List the runs that are to be merged, and which are of what is left out."""
        return [
            (self._run_path(number), task.excluded)
            for number, task in enumerate(self.source.tasks())
        ]

    def _run_path(self, number: int) -> Path:
        return self.spilled / f"run-{number:07d}"

    def _spill(self) -> None:
        def work(job: tuple[int, Task]) -> None:
            number, task = job
            path = self._run_path(number)
            if not path.exists():
                sides = self.source.read(task).sides(self._held(task))
                write_run(path, sides, self.cell_bits)

        self._each(work, list(enumerate(self.source.tasks())), lambda _, __: None)

    def _held(self, task: Task) -> npt.NDArray[np.bool_]:
        """Tell which rows of a task are held out."""
        if task.excluded:
            return np.zeros(task.stop - task.start, dtype=np.bool_)
        first, last = task.start // 8, (task.stop + 7) // 8
        marks = np.fromfile(
            self._marks(task.shard), np.uint8, count=last - first, offset=first
        )
        return unpacked(marks, task.start, task.stop)

    # Merge.

    def _merge(self) -> None:
        runs = [(Run(path), excluded) for path, excluded in self.runs()]

        def work(job: tuple[int, Merge]) -> dict[str, int]:
            return self._merge_range(runs, *job)

        jobs = list(enumerate(self._planned(runs)))
        made: list[tuple[int, dict[str, int]]] = []
        self._each(work, jobs, lambda job, counts: made.append((job[1].side, counts)))
        self.sum_up(made)

    def sum_up(self, made: Sequence[tuple[int, dict[str, int]]]) -> None:
        """Take up the counts of all ranges, each with its side.

        Raises:
            MaouError: nothing is left.
        """
        for name in _COUNTED:
            sums = [0, 0]
            for side, counts in made:
                sums[side] += counts[name]
            setattr(self.state, name, sums)
        if not sum(self.state.positions):
            raise MaouError("--exclude: every position of the input was left out")

    def _planned(self, runs: list[tuple[Run, bool]]) -> list[Merge]:
        """Plan the merges, or take the plan of an earlier run if memory allows it."""
        path = self.spilled / "merges.json"
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            found = [Merge(*map(whole, item)) for item in read_json(path)["merges"]]
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
        found = self.kept_range(merge.side, number)
        if found is not None:
            return found
        sides = [(run, 0 if excluded else merge.side) for run, excluded in runs]
        made = merge_runs(sides, (merge.first, merge.last), merge.entries)
        return self.keep_range(merge.side, number, made)

    def kept_range(self, side: int, number: int) -> dict[str, int] | None:
        """Return the counts of a range that is merged and on disk, else None."""
        summary = self._range_path(side, number).with_suffix(".json")
        with contextlib.suppress(
            OSError, ValueError
        ):  # what cannot be read is made anew
            found = counts_of(read_json(summary))
            if set(found) == set(_COUNTED):
                return found
        return None

    def keep_range(self, side: int, number: int, made: Grouped) -> dict[str, int]:
        """Write a merged range, all of it or nothing; return its counts."""
        path = self._range_path(side, number)
        positions, moves = len(made.block.codes), len(made.block.labels)
        if positions:
            write_preprocess_shard(
                path,
                lambda start, stop: sliced(made.block, start, stop),
                positions,
                moves,
                packed=True,
            )
        summed = {
            "positions": positions,
            "moves": moves,
            "excluded_positions": made.excluded_positions,
            "excluded_rows": made.excluded_rows,
        }
        save_json(path.with_suffix(".json"), summed)
        return summed

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
