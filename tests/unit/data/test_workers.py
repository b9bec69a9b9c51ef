"""Real worker processes give what this process gives, and report what it would.

Workers take seconds to start, so one set of workers is asked many things.
"""

import itertools
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from maou.data.config import DataConfig
from maou.data.loader import Loader
from maou.data.pipeline import TrainingData, prepare_data
from maou.errors import DataError
from maou.sources.local import open_local_shards
from shard_files import write_raw


def collect(loader: Loader, epoch: int, start: int) -> tuple[list[bytes], str]:
    """Take an epoch's batches until its end, or an error; return both."""
    made: list[bytes] = []
    try:
        for batch in loader.batches(epoch, start):
            made.append(batch.buffer.numpy().tobytes())  # noqa: PERF401
    except DataError as error:
        return made, str(error)
    return made, ""


@pytest.mark.parametrize("streaming", [True, False])
def test_two_workers_equal_none_and_name_the_damaged_row(
    streaming: bool, selfplay_rows: npt.NDArray[np.uint8], tmp_path: Path
) -> None:
    rows = selfplay_rows[:10_000].copy()
    for number in range(4):
        write_raw(tmp_path / f"{number}.hcpe", rows[number * 2500 :][:2500])

    def data(workers: int) -> TrainingData:
        config = DataConfig(
            batch_size=128,
            streaming=streaming,
            shuffle_rows=3000,
            mirror_probability=0.4,
            dataloader_workers=workers,
            prefetch_factor=2,
        )
        return prepare_data(open_local_shards(tmp_path), config)

    block = data(0).training.block(1)
    path, row = data(0).shards.shards[block.shard].path, block.start + 700
    shard = rows[block.shard * 2500 :][:2500].copy()
    shard[row, 36] = 3
    write_raw(path, shard)

    here, workers = data(0).train_loader, data(2).train_loader
    assert len(here) == len(workers)

    before, message = collect(here, 0, 0)
    assert message.startswith(f"{path}: row {row}: gameResult is not")
    assert len(before) < len(here)
    assert collect(workers, 0, 0) == (before, message)

    after = len(before) + 1
    rest, nothing = collect(here, 0, after)
    assert not nothing
    assert len(rest) == len(here) - after
    assert collect(workers, 0, after) == (rest, ""), "after an error"

    few = [batch.buffer for batch in itertools.islice(workers.batches(0, after), 3)]
    assert [part.numpy().tobytes() for part in few] == rest[:3]
    assert collect(workers, 1, 0) == collect(here, 1, 0), "after an epoch was left"
    assert collect(workers, 0, after) == (rest, "")
    assert collect(workers, 3, len(here)) == ([], "")
