"""An epoch holds every training row exactly once, however it is read.

Examples mix all containers, several blocks a shard, windows and batches of any size,
and any stride: a stride is what makes worker processes.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from maou.data.batch import Batch
from maou.data.config import DataConfig
from maou.data.loader import Loader
from maou.data.map_style import MapRows
from maou.data.pipeline import in_order, prepare_data
from maou.data.rows import SideRows, side_rows
from maou.data.streaming import StreamingRows
from maou.errors import DataError
from maou.records.containers import open_hcpe_shard
from maou.records.shards import Shard
from maou.records.split import game_starts, split_by_game, take_all
from maou.sources.local import open_local_shards
from shard_files import CONTAINERS, batch_identities, identities

Rows = npt.NDArray[np.uint8]
Folder = pytest.TempPathFactory


@dataclass
class Example:
    """A data set on disk, and how to train on it."""

    plan: list[tuple[str, int, list[int]]]
    """Container, rows and record-batch cuts of each shard."""

    game_rows: int
    ratio: float
    seed: int
    batch_size: int
    window_rows: int
    epoch: int


@st.composite
def examples(draw: st.DrawFn) -> Example:
    most = draw(st.sampled_from([60, 800, 5000]))
    shard = st.tuples(
        st.sampled_from(sorted(CONTAINERS)),
        st.integers(1, most),
        st.lists(st.integers(0, most), max_size=3),
    )
    plan = draw(st.lists(shard, min_size=1, max_size=4))
    total = sum(rows for _, rows, _ in plan)
    return Example(
        plan=plan,
        game_rows=draw(st.integers(1, 200)),
        ratio=draw(st.one_of(st.floats(0.01, 0.99), st.sampled_from([1e-9, 1 - 1e-9]))),
        seed=draw(st.integers(0, 2**63 - 1)),
        batch_size=draw(st.integers(1 + total // 100, 2 * total)),
        window_rows=draw(st.integers(1, 2 * total)),
        epoch=draw(st.integers(0, 1000)),
    )


@dataclass
class DataSet:
    """An example on disk: its shards, and which row and game each sample is."""

    shards: tuple[Shard, ...]
    number: dict[bytes, int]
    units: list[str]


def write(example: Example, rows: Rows, folder: Path) -> DataSet:
    shards: list[Shard] = []
    units: list[str] = []
    for index, (name, count, cuts) in enumerate(example.plan):
        container = CONTAINERS[name]
        at = len(units)
        part = rows[at : at + count]
        games = [f"g{(at + i) // example.game_rows}" for i in range(count)]
        ids = [f"{game}_{i}" for i, game in enumerate(games)]
        path = folder / f"{index}{container.suffix}"
        container.write(path, part, ids, [min(cut, count) for cut in cuts])
        shards.append(open_hcpe_shard(path))
        if container.has_ids:
            units += games
        elif len(example.plan) > 1:
            units += [f"shard {index}"] * count
        else:
            units += [f"run {n}" for n in np.cumsum(game_starts(part))]
    used = identities(rows[: len(units)])
    return DataSet(tuple(shards), {what: i for i, what in enumerate(used)}, units)


def sides(data: DataSet, example: Example) -> tuple[SideRows, SideRows]:
    split = split_by_game(data.shards, example.ratio, example.seed)
    training = side_rows(data.shards, split, validation=False)
    return training, side_rows(data.shards, split, validation=True)


def row_numbers(data: DataSet, batches: list[Batch]) -> list[int]:
    return [data.number[what] for what in batch_identities(batches)]


def same(left: list[Batch], right: list[Batch]) -> bool:
    return len(left) == len(right) and all(
        bool((a.buffer == b.buffer).all()) and len(a) == len(b)
        for a, b in zip(left, right, strict=True)
    )


def check_sizes(batches: list[Batch], rows: int, batch_size: int) -> None:
    sizes = [len(batch) for batch in batches]
    assert sum(sizes) == rows
    assert all(size == batch_size for size in sizes[:-1])
    assert 0 < sizes[-1] <= batch_size


@settings(max_examples=120)
@given(example=examples(), stride=st.integers(1, 5), start=st.integers(0, 7))
def test_every_row_once_whatever_the_containers_windows_and_strides(
    example: Example,
    stride: int,
    start: int,
    distinct_rows: Rows,
    tmp_path_factory: Folder,
) -> None:
    data = write(example, distinct_rows, tmp_path_factory.getbasetemp())
    assume(len(set(data.units)) > 1)
    training, validation = sides(data, example)

    stream = StreamingRows(
        training, example.batch_size, example.window_rows, example.seed
    )
    batches = list(stream.batches(example.epoch))
    assert len(stream) == len(batches)
    check_sizes(batches, training.count, example.batch_size)
    trained = row_numbers(data, batches)

    held = in_order(validation, example.batch_size)
    validated = row_numbers(data, list(held.batches(0)))
    assert len(held) == -(-len(validated) // example.batch_size)

    everything = Counter(trained) + Counter(validated)
    assert everything == Counter(range(len(data.units))), "each row once, on one side"
    games = ({data.units[row] for row in side} for side in (trained, validated))
    assert not set.intersection(*games), "a game is on both sides"

    by_worker = [
        list(stream.batches(example.epoch, worker, stride)) for worker in range(stride)
    ]
    joined = [
        by_worker[number % stride][number // stride] for number in range(len(batches))
    ]
    assert same(joined, batches), "workers make the same batches"
    assert same(list(stream.batches(example.epoch, start)), batches[start:])

    for joined_arrays in (False, True):
        whole = MapRows(
            training, example.batch_size, example.seed, joined=joined_arrays
        )
        mapped = [whole[task] for task in whole.tasks(example.epoch)]
        assert len(whole) == len(mapped)
        check_sizes(mapped, training.count, example.batch_size)
        assert Counter(row_numbers(data, mapped)) == Counter(trained)
        later = [whole[task] for task in whole.tasks(example.epoch, start)]
        assert same(later, mapped[start:])


@settings(max_examples=40)
@given(example=examples(), probability=st.sampled_from([0.0, 0.3, 1.0]))
def test_mirroring_depends_on_the_place_in_the_epoch_alone(
    example: Example,
    probability: float,
    distinct_rows: Rows,
    tmp_path_factory: Folder,
) -> None:
    """The same rows are mirrored for any batch size, and about as many as asked."""
    data = write(example, distinct_rows, tmp_path_factory.getbasetemp())
    assume(len(set(data.units)) > 1)
    training, _ = sides(data, example)

    def samples(batch_size: int, chance: float) -> list[bytes]:
        stream = StreamingRows(
            training, batch_size, example.window_rows, example.seed, chance
        )
        return list(batch_identities(stream.batches(example.epoch)))

    mirrored = samples(example.batch_size, probability)
    assert mirrored == samples(max(1, example.batch_size // 3), probability)
    plain = samples(example.batch_size, 0.0)
    share = sum(a != b for a, b in zip(mirrored, plain, strict=True)) / len(plain)
    deviation = (probability * (1 - probability) / len(plain)) ** 0.5
    # Symmetric positions with a symmetric move would not change; none is here.
    assert abs(share - probability) <= 5 * deviation


@pytest.fixture
def folder(distinct_rows: Rows, tmp_path: Path) -> Path:
    """Three shards of 9,000 rows with ids in three containers."""
    made = tmp_path / "shards"
    made.mkdir()
    names = ("npy text ids", "feather binary", "npy bytes ids")
    for number, name in enumerate(names):
        rows = distinct_rows[number * 9000 : number * 9000 + 9000]
        ids = [f"game{number}-{i // 100}_{i % 100}" for i in range(9000)]
        container = CONTAINERS[name]
        container.write(made / f"{number}{container.suffix}", rows, ids, (4000,))
    return made


@pytest.mark.parametrize("streaming", [True, False])
def test_orders_differ_between_epochs_and_seeds_and_repeat_themselves(
    streaming: bool, folder: Path
) -> None:
    """Any two orders share about one row in its place."""

    def order(seed: int, epoch: int) -> list[bytes]:
        config = DataConfig(
            batch_size=500, streaming=streaming, shuffle_rows=5000, seed=seed
        )
        data = prepare_data(open_local_shards(folder), config)
        rows = (
            data.training
            if seed == 0
            else side_rows(
                data.shards.shards, take_all(data.shards.shards), validation=False
            )
        )
        if streaming:
            return list(
                batch_identities(StreamingRows(rows, 500, 5000, seed).batches(epoch))
            )
        whole = MapRows(rows, 500, seed)
        return list(batch_identities(whole[task] for task in whole.tasks(epoch)))

    first = order(0, 0)
    assert first == order(0, 0)
    for other in (order(0, 1), order(0, 2), order(1, 0)):
        in_place = sum(a == b for a, b in zip(first, other, strict=False))
        assert in_place < 20
    assert Counter(first) == Counter(order(0, 1))


def test_a_streaming_epoch_mixes_shards_and_the_whole_of_the_window(
    folder: Path, distinct_rows: Rows
) -> None:
    """With a window of a third, a batch still has rows of every shard."""
    shards = open_local_shards(folder).shards
    everything = side_rows(shards, take_all(shards), validation=False)
    number = {what: i for i, what in enumerate(identities(distinct_rows[:27000]))}
    stream = StreamingRows(everything, 1000, 9000, seed=0)
    mixed = 0
    for batch in stream.batches(0):
        rows = np.array([number[what] for what in batch_identities([batch])])
        mixed += len(np.unique(rows // 9000)) >= 2
        assert (np.abs(np.diff(rows)) > 1).mean() > 0.99, "neighbours are torn apart"
    assert mixed > 20


def test_a_full_window_is_a_full_shuffle(folder: Path, distinct_rows: Rows) -> None:
    shards = open_local_shards(folder).shards
    everything = side_rows(shards, take_all(shards), validation=False)
    number = {what: i for i, what in enumerate(identities(distinct_rows[:27000]))}
    stream = StreamingRows(everything, 1000, 10**6, seed=0)
    order = [number[what] for what in batch_identities(stream.batches(0))]
    correlation = np.corrcoef(order, np.arange(27000))[0, 1]
    assert abs(correlation) < 0.03
    fixed = sum(place == row for place, row in enumerate(order))
    assert fixed < 10


def test_streaming_is_chosen_for_several_files_only(
    folder: Path, selfplay_path: Path
) -> None:
    assert prepare_data(open_local_shards(folder), DataConfig()).streaming
    assert not prepare_data(open_local_shards(selfplay_path), DataConfig()).streaming


def test_a_pipeline_gives_both_sides_of_one_split(
    folder: Path, distinct_rows: Rows
) -> None:
    data = prepare_data(open_local_shards(folder), DataConfig(batch_size=777))
    trained = list(batch_identities(data.train_loader.batches(0)))
    validated = list(batch_identities(data.validation_batches.batches(0)))
    assert validated == list(batch_identities(data.validation_batches.batches(0)))
    assert Counter(trained + validated) == Counter(identities(distinct_rows[:27000]))
    assert len(trained) == data.training.count == data.split.training_rows
    assert len(validated) == data.validation.count == data.split.validation_rows
    assert len(data.train_loader) == -(-len(trained) // 777)


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("cache_mode", ["file", "memory"])
def test_a_damaged_row_is_named_by_file_and_row(
    streaming: bool, cache_mode: str, folder: Path, selfplay_rows: Rows
) -> None:
    """Rows of each block and shard, on the training side, in a full epoch."""
    shards = open_local_shards(folder)
    config = DataConfig(batch_size=300, streaming=streaming, shuffle_rows=3000)
    good = prepare_data(shards, config)
    block = good.training.block(len(good.training.bounds) - 1)
    row = int(good.training.chosen(block)[-1])
    path = shards.shards[block.shard].path
    array = np.load(path)
    array["hcp"][row] = 255
    np.save(path, array)
    bad = prepare_data(open_local_shards(folder), config, cache_mode)
    with pytest.raises(DataError) as caught:
        list(bad.train_loader.batches(0))
    assert str(caught.value).startswith(f"{path}: row {row}: a king is off the board")
    assert "\n" not in str(caught.value)


def test_a_loader_without_workers_is_the_rows_themselves(folder: Path) -> None:
    shards = open_local_shards(folder).shards
    everything = side_rows(shards, take_all(shards), validation=False)
    stream = StreamingRows(everything, 1000, 5000, seed=4)
    loader = Loader(stream, DataConfig(batch_size=1000))
    assert same(list(loader.batches(2, 3)), list(stream.batches(2, 3)))
