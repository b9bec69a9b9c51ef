"""Keeping decoded rows changes no batch, stays within its limit, and saves reading."""

import itertools
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from maou.cli.main import run
from maou.data import pipeline
from maou.data.batch import SoftBatch
from maou.data.config import MAP_CACHE, STREAM_CACHE, DataConfig
from maou.data.kinds import HCPE_ROWS
from maou.data.map_style import MapRows
from maou.data.reading import BlockReader
from maou.data.rows import SideRows, side_rows
from maou.data.streaming import StreamingRows
from maou.errors import DataError, TrainingError
from maou.records.raw import RawShard
from maou.records.split import take_all
from maou.sources.local import open_local_shards, open_preprocess_shards
from shard_files import write_raw

Rows = npt.NDArray[np.uint8]
ROWS = 7000


@pytest.fixture
def folder(selfplay_rows: Rows, tmp_path: Path) -> Path:
    for number in range(3):
        write_raw(tmp_path / f"{number}.hcpe", selfplay_rows[number * ROWS :][:ROWS])
    return tmp_path


def buffers(
    folder: Path, streaming: bool, cache: bool | None, workers: int, mode: str
) -> list[bytes]:
    """Two epochs: the second is made from what the first has left."""
    config = DataConfig(
        batch_size=300,
        streaming=streaming,
        shuffle_rows=5000,
        mirror_probability=0.3,
        cache_transforms=cache,
        dataloader_workers=workers,
    )
    data = pipeline.prepare_data(open_local_shards(folder), config, mode)
    return [
        batch.buffer.numpy().tobytes()
        for epoch in (0, 1)
        for batch in data.train_loader.batches(epoch)
    ]


@pytest.mark.parametrize(
    ("streaming", "mode"), [(True, "file"), (False, "file"), (False, "memory")]
)
def test_batches_are_the_same_on_and_off(
    streaming: bool, mode: str, folder: Path
) -> None:
    plain = buffers(folder, streaming, False, 0, mode)
    for cache, workers in ((True, 0), (None, 0), (True, 2)):
        assert buffers(folder, streaming, cache, workers, mode) == plain


def test_preprocess_batches_are_the_same_on_and_off(
    folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path_factory.mktemp("preprocess")
    source = ("--input-path", str(folder), "--output-dir", str(out))
    assert run(["pre-process", *source, "--shard-rows", "3000"]) == 0
    shards = open_preprocess_shards(out, packed=True)
    found = []
    # Room for everything, for a part, and for nothing.
    for cache, limit in ((False, 0), (True, 10**9), (True, 10**6), (True, 1)):
        monkeypatch.setattr("maou.data.config.STREAM_CACHE", limit)
        config = DataConfig(
            batch_size=300,
            streaming=True,
            shuffle_rows=5000,
            mirror_probability=0.3,
            cache_transforms=cache,
        )
        loader = pipeline.prepare_data(shards, config).train_loader
        found.append(
            [
                (batch.positions.numpy().tobytes(), batch.moves.numpy().tobytes())
                for epoch in (0, 1)
                for batch in loader.batches(epoch)
                if isinstance(batch, SoftBatch)
            ]
        )
    assert len(found[0]) > 50
    assert all(batches == found[0] for batches in found)


def every_row(folder: Path) -> SideRows:
    shards = tuple(RawShard(path) for path in sorted(folder.glob("*.hcpe")))
    return side_rows(shards, take_all(shards), validation=False)


def test_a_second_epoch_reads_no_file(folder: Path) -> None:
    stream = StreamingRows(every_row(folder), 500, 4000, 0, cache_limit=10**9)
    first = [batch.buffer for batch in stream.batches(1)]
    for path in folder.glob("*.hcpe"):
        path.write_bytes(b"")
    again = [batch.buffer for batch in stream.batches(1)]
    assert all(a.equal(b) for a, b in zip(first, again, strict=True))
    with pytest.raises(DataError):
        list(StreamingRows(stream.side, 500, 4000, 0).batches(1))


def test_rows_that_do_not_fit_decoded_stay_raw(folder: Path) -> None:
    side = every_row(folder)
    needed = side.count * 101
    fits = BlockReader(side, needed, keep=True)
    assert "2 MB" in fits.caching
    assert fits.read_all(np.array([0])).shape[1] == 101
    tight = BlockReader(side, needed - 1, keep=True)
    assert tight.kind is HCPE_ROWS
    assert "above the limit" in tight.caching
    assert tight.read_all(np.array([0])).shape[1] == 38
    assert BlockReader(side).caching == ""


def test_a_damaged_row_is_named_when_its_batch_is_made(
    folder: Path, selfplay_rows: Rows
) -> None:
    for number in range(3):
        rows = selfplay_rows[number * ROWS :][:ROWS].copy()
        rows[5, 36] = 3
        rows[6, :32] = 255
        write_raw(folder / f"{number}.hcpe", rows)
    said = set()
    for cache, streaming in itertools.product((True, False), repeat=2):
        config = DataConfig(
            batch_size=300, streaming=streaming, cache_transforms=cache, test_ratio=0.01
        )
        data = pipeline.prepare_data(open_local_shards(folder), config)
        made = []
        with pytest.raises(DataError, match=r"hcpe: row [56]: ") as caught:
            made.extend(data.train_loader.batches(0))
        said.add((streaming, len(made), str(caught.value)))
    assert len(said) == 2, "the same with and without"


def test_where_it_can_matter_and_how_much() -> None:
    on = DataConfig(cache_transforms=True)
    default = DataConfig()
    assert default.cache_limit(streaming=False, hcpe=True) == MAP_CACHE
    assert default.cache_limit(streaming=True, hcpe=True) == STREAM_CACHE
    assert default.cache_limit(streaming=True, hcpe=False) == 0
    assert on.cache_limit(streaming=True, hcpe=False) == STREAM_CACHE
    assert on.cannot_cache(streaming=False, hcpe=False)
    many = DataConfig(cache_transforms=True, dataloader_workers=4)
    assert many.cannot_cache(streaming=True, hcpe=True)
    assert many.cache_limit(streaming=True, hcpe=True) == 0
    assert many.cache_limit(streaming=True, hcpe=False) == STREAM_CACHE // 4
    off = DataConfig(cache_transforms=False)
    assert off.cache_limit(streaming=False, hcpe=True) == 0


def test_too_little_shared_memory_is_an_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maou.data.map_style.shared_room", lambda: 1000)
    with pytest.raises(TrainingError, match="shared memory") as caught:
        MapRows(every_row(folder), 100, 0).share()
    assert "--dataloader-workers 0" in str(caught.value)


def test_map_style_rows_are_read_for_the_first_batch(folder: Path) -> None:
    whole = MapRows(every_row(folder), 100, 0)
    (folder / "1.hcpe").unlink()
    with pytest.raises(DataError, match=r"1\.hcpe"):
        whole[next(whole.tasks(0))]
