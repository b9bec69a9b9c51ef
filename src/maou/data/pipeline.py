"""The data of a run: opened shards, their split, and loaders for both sides."""

from dataclasses import dataclass

import numpy as np
from typing_extensions import TypeIs

from maou.data.config import DataConfig
from maou.data.kinds import SOFT_ROWS
from maou.data.loader import Loader
from maou.data.map_style import MapRows
from maou.data.rows import SideRows, side_rows
from maou.data.soft_rows import SoftShard
from maou.data.streaming import StreamingRows
from maou.errors import DataError
from maou.records.keys import key_of
from maou.records.preprocess_shards import PreprocessShard
from maou.records.split import (
    Split,
    split_by_game,
    split_by_marks,
    split_by_row,
    take_all,
)
from maou.sources.config import PREPROCESS, SourceConfig
from maou.sources.local import (
    AnyShards,
    ShardSet,
    open_local_shards,
    open_preprocess_shards,
)

SIDES = ("train", "validation")

VALIDATION_WINDOW = 131_072
"""Rows that validation holds at a time: 5 MB; its order does not matter."""


@dataclass(frozen=True)
class TrainingData:
    """Both sides of the data, and how they came about.

    Attributes:
        shards: the opened shards.
        split: which rows are held out.
        training, validation: the rows of each side.
        streaming: whether training reads a bounded window instead of all rows.
        train_loader: batches of training rows.
        validation_batches: batches of validation rows, in the same order every time.
    """

    shards: AnyShards
    split: Split
    training: SideRows
    validation: SideRows
    streaming: bool
    train_loader: Loader
    validation_batches: StreamingRows


def open_data(source: SourceConfig) -> AnyShards:
    """Open the shards that a source names, reading headers only.

    Raises:
        DataError: nothing there, or a file is not what it should be.
    """
    if source.input_format == PREPROCESS:
        return open_preprocess_shards(source.input_path, source.input_file_packed)
    return open_local_shards(source.input_path)


def prepare_data(
    shards: AnyShards, config: DataConfig, cache_mode: str = "file"
) -> TrainingData:
    """Split opened shards by game and make the loaders.

    Args:
        shards: the opened shards, all of one kind.
        config: split, order, batches and workers.
        cache_mode: how a map-style dataset holds its rows (`file` or `memory`).

    Raises:
        DataError: the rows cannot be split or read.
    """
    training, validation = split_sides(shards, config.test_ratio, config.seed)
    streaming = config.streaming
    if streaming is None:
        streaming = len(np.unique(training.bounds[:, 0])) > 1
    rows: StreamingRows | MapRows
    if streaming:
        rows = StreamingRows(
            side=training,
            batch_size=config.batch_size,
            window_rows=config.shuffle_rows,
            seed=config.seed,
            mirror_probability=config.mirror_probability,
        )
    else:
        rows = MapRows(
            training,
            config.batch_size,
            config.seed,
            config.mirror_probability,
            joined=cache_mode == "memory",
        )
    return TrainingData(
        shards=shards,
        split=training.split,
        training=training,
        validation=validation,
        streaming=streaming,
        train_loader=Loader(rows, config),
        validation_batches=in_order(validation, config.batch_size),
    )


def split_sides(
    shards: AnyShards, test_ratio: float, seed: int
) -> tuple[SideRows, SideRows]:
    """Split shards of either kind; give the training and the validation rows.

    Raises:
        DataError: the rows cannot be split or read.
    """
    if holds_preprocess(shards):
        soft = soft_shards(shards)
        split = _split_preprocess(shards, test_ratio, seed)
        return (
            side_rows(soft, split, validation=False, kind=SOFT_ROWS),
            side_rows(soft, split, validation=True, kind=SOFT_ROWS),
        )
    split = split_by_game(shards.shards, test_ratio, seed)
    return (
        side_rows(shards.shards, split, validation=False),
        side_rows(shards.shards, split, validation=True),
    )


def all_rows(shards: AnyShards) -> SideRows:
    """Take every row of shards of either kind, on one side."""
    if holds_preprocess(shards):
        soft = soft_shards(shards)
        return side_rows(soft, take_all(soft), validation=False, kind=SOFT_ROWS)
    return side_rows(shards.shards, take_all(shards.shards), validation=False)


def holds_preprocess(
    shards: AnyShards,
) -> TypeIs[ShardSet[PreprocessShard]]:
    """Tell preprocess shards from hcpe shards."""
    return isinstance(shards.shards[0], PreprocessShard)


def soft_shards(shards: ShardSet[PreprocessShard]) -> tuple[SoftShard, ...]:
    """View preprocess shards as soft rows."""
    return tuple(SoftShard(shard) for shard in shards.shards)


def _split_preprocess(
    shards: ShardSet[PreprocessShard], test_ratio: float, seed: int
) -> Split:
    """Use the pair that pre-process wrote; else whole shards; else, of one, rows."""
    rows = tuple(shard.rows for shard in shards.shards)
    folders = [shards.name(i).split("/")[0] for i in range(len(rows))]
    if {"train", "validation"} <= set(folders):
        strange = [shards.name(i) for i, f in enumerate(folders) if f not in SIDES]
        if strange:
            raise DataError(
                f"{shards.root}: has train/ and validation/, and beside them "
                f"{strange[0]}; move it into one of them, or away"
            )
        held_out = tuple(folder == "validation" for folder in folders)
        return split_by_marks(rows, held_out, "game, by pre-process")
    if len(rows) > 1:
        keys = [key_of(seed, *_words(shard)) for shard in shards.shards]
        held = [key < int(test_ratio * 2**64) for key in keys]
        if not any(held) or all(held):
            nearest = keys.index(max(keys) if all(held) else min(keys))
            held[nearest] = not held[nearest]
        return split_by_marks(rows, tuple(held), "shard")
    return split_by_row(rows[0], test_ratio, seed)


def _words(shard: PreprocessShard) -> list[int]:
    """Identify a preprocess shard by its first and last position."""
    ends = [shard.codes(row, row + 1) for row in (0, shard.rows - 1)]
    return [int(word) for code in ends for word in code.reshape(-1).view("<u8")]


def in_order(side: SideRows, batch_size: int) -> StreamingRows:
    """Give one side's batches in an order that is the same every time."""
    return StreamingRows(
        side=side, batch_size=batch_size, window_rows=VALIDATION_WINDOW, seed=0
    )
