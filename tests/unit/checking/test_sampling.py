"""Pieces cover all rows, or an evenly spaced sample."""

from pathlib import Path

import numpy as np
import pytest

from maou.checking import run
from maou.records.raw import RawShard
from maou.records.shards import Shard


@pytest.fixture
def shards(tmp_path: Path) -> list[Shard]:
    made: list[Shard] = []
    for number, rows in enumerate((5000, 1, 12_345, 300)):
        path = tmp_path / f"{number}.hcpe"
        path.write_bytes(bytes(38 * rows))
        made.append(RawShard(path))
    return made


@pytest.mark.parametrize("count", [0, 1, 2, 5, 20, 64])
def test_the_first_pieces_are_spread(count: int) -> None:
    order = run._spread(count)
    assert sorted(order) == list(range(count))
    for few in range(2, count):
        gaps = np.diff(sorted([*order[:few], count]))
        assert gaps.max() <= 4 * count / few + 1


@pytest.mark.parametrize("sample", [0, 1, 1023, 1024, 5000, 17_000, 17_645, 17_646])
def test_pieces_are_in_order_and_do_not_overlap(
    shards: list[Shard], sample: int
) -> None:
    seen = [np.zeros(shard.rows, dtype=np.int64) for shard in shards]
    tasks = run._tasks(shards, sample, examples=1, keys=False)
    assert tasks == sorted(tasks, key=lambda task: (task.shard, task.start))
    for task in tasks:
        assert task.path == shards[task.shard].path
        assert task.start < task.stop <= shards[task.shard].rows
        seen[task.shard][task.start : task.stop] += 1
    assert max(int(count.max()) for count in seen) == 1
    rows = sum(int(count.sum()) for count in seen)
    if sample in {0, 17_646}:
        assert rows == 17_646
    else:
        assert 0 < rows < sample + 1024
        assert rows > 0.8 * sample
