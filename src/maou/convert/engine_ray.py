"""The phases of `maou pre-process` on a Ray cluster: `--engine ray`.

This process, the driver, marks the split, reads the input and writes the shards. What
is between, decoding and adding up, is done by tasks:

- spill: some hundred thousand rows become sorted entries, cut into ranges by the first
  bits of the positions' ids;
- merge: a range of all spilled rows is added up; the driver keeps it as packed
  positions, as the threads' engine does.

Rows, ranges and results travel through Ray's object store, so the nodes share no disk;
when it is full, Ray moves objects to the nodes' disks. Ray repeats the tasks of a
worker that dies. When a node dies with what it held, the ranges that are not yet merged
are spilled anew, which is also how a run that was stopped goes on.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from typing import Any

from maou.convert.engine_threads import ThreadsEngine
from maou.convert.merging import N_SIDES
from maou.convert.preprocess_input import Task
from maou.convert.preprocess_state import save_json
from maou.convert.ray_cluster import Cluster, LostObjectsError, connected
from maou.convert.ray_tasks import Chunk, merge_range, spill_chunk
from maou.convert.spill import MERGE_BYTES
from maou.errors import ConfigError, RemoteError
from maou.reading import read_json

_WORKER_BYTES = 300_000_000  # the program in a worker, and what a piece takes
_SPILL_BYTES = 220  # of each row of a chunk
_FEWEST_ROWS, _MOST_ROWS = 65_536, 1_000_000  # of a chunk
_MERGED = 2_000_000  # rows of a range, about
_FEWEST_BITS, _MOST_BITS = 5, 10  # of an id, that are the number of its range
_CHUNKS = 8  # for each CPU, where there are rows enough
_ROUNDS = 4  # how often ranges are spilled before lost ones are given up


class RayEngine(ThreadsEngine):
    """One run: its aggregation in tasks, the rest in threads of the driver."""

    def phases(self) -> tuple[Callable[[], None], ...]:
        """Return what does each phase; spilled rows are merged in the same one."""
        return (self._split, self._aggregate, lambda: None, self._write)

    def begin(self) -> None:
        """Take up what another engine has spilled again: it is not in the cluster."""
        if self.state.phase == "merge":
            self.state.phase = "spill"

    def _aggregate(self) -> None:
        """Spill and merge, until every range is on disk."""
        rows = self.source.rows + sum(shard.rows for shard in self.source.excluded)
        left = self.config.memory_bytes - _WORKER_BYTES
        bits = _range_bits(rows, left // MERGE_BYTES)
        merged = rows * MERGE_BYTES >> bits
        needed = max(merged, _FEWEST_ROWS * _SPILL_BYTES)
        if needed > left:
            least = -(-(needed + _WORKER_BYTES) // 1_000_000)
            raise ConfigError(
                f"--memory-limit {self.config.memory_limit}: too little for a task; "
                f"this input needs at least {least}MB on a Ray cluster"
            )
        self._take_over_ranges(bits)
        with connected(self.config) as cluster:
            chunk_rows = min(_MOST_ROWS, rows // (_CHUNKS * cluster.cpus))
            chunk_rows = max(_FEWEST_ROWS, min(chunk_rows, left // _SPILL_BYTES))
            taken = max(merged, chunk_rows * _SPILL_BYTES) + _WORKER_BYTES
            cluster.require(taken, f"--memory-limit {self.config.memory_limit}")
            for number in range(_ROUNDS):
                try:
                    self._round(cluster, bits, chunk_rows)
                    break
                except LostObjectsError as error:
                    if number + 1 == _ROUNDS:
                        raise RemoteError(
                            f"--engine ray: nodes of the cluster died {_ROUNDS} times "
                            "with what they held; run again to go on"
                        ) from error
        self.sum_up(
            [
                (side, self.kept_range(side, number) or {})
                for number in range(1 << bits)
                for side in range(N_SIDES)
            ]
        )

    def _take_over_ranges(self, bits: int) -> None:
        """Keep the ranges of an earlier run if they are cut as ours are."""
        path = self.spilled / "merges.json"
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            if read_json(path)["range_bits"] == bits:
                return
        for old in self.spilled.glob("range-*"):
            old.unlink()
        save_json(path, {"range_bits": bits})

    def _round(self, cluster: Cluster, bits: int, chunk_rows: int) -> None:
        """Spill and merge the ranges that are missing."""
        missing = [
            number
            for number in range(1 << bits)
            if any(self.kept_range(side, number) is None for side in range(N_SIDES))
        ]
        if not missing:
            return
        cuts: list[list[Any]] = [[] for _ in missing]
        spill = cluster.task(spill_chunk, len(missing) + 1)
        merge = cluster.task(merge_range, 1)
        chunks = list(_chunks(self.source.tasks(), chunk_rows))

        def spilled(answer: list[Any], _: Any) -> None:
            for refs, ref in zip(cuts, answer[1:], strict=True):
                refs.append(ref)
            done[0] += 1
            self._tell(done[0] / len(chunks))

        def merged(answer: list[Any], made: Any) -> None:
            number = numbers.pop(answer[0])
            for side in range(N_SIDES):
                self.keep_range(side, number, made[side])
            done[1] += 1
            self._tell(done[1] / len(missing))

        done = [0, 0]
        numbers: dict[Any, int] = {}
        self.state.phase = "spill"  # for reports; it is saved when both are done
        spills = (spill(self._read(chunk), bits, missing) for chunk in chunks)
        cluster.flow(spills, spilled)

        def merges() -> Iterator[list[Any]]:
            for at, number in enumerate(missing):
                refs, cuts[at] = cuts[at], []  # the store may forget them when used
                answer = merge(*refs)
                numbers[answer[0]] = number
                yield answer

        self.state.phase = "merge"
        cluster.flow(merges(), merged)

    def _read(self, chunk: list[Task]) -> Chunk:
        return [(self.source.read(task), self._held(task)) for task in chunk]

    def _tell(self, share: float) -> None:
        self.fraction = self.share_done(share)
        self.tell(self.report())


def _range_bits(rows: int, most: int) -> int:
    """Find how many ranges there are to be, as the power of 2.

    They depend on the input and the memory limit alone, not on the cluster, so that a
    run that goes on finds its ranges.
    """
    target = max(1, min(_MERGED, most))
    bits = (max(1, -(-rows // target)) - 1).bit_length()
    return max(_FEWEST_BITS, min(bits, _MOST_BITS))


def _chunks(tasks: list[Task], most: int) -> Iterator[list[Task]]:
    """Join tasks of one kind to chunks of at most so many rows."""
    for _, alike in itertools.groupby(tasks, key=lambda task: task.excluded):
        chunk: list[Task] = []
        rows = 0
        for task in alike:
            if chunk and rows + task.stop - task.start > most:
                yield chunk
                chunk, rows = [], 0
            chunk.append(task)
            rows += task.stop - task.start
        yield chunk
