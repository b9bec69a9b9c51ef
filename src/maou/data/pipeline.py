"""The data of a run: opened shards, their split, and loaders for both sides."""

from dataclasses import dataclass

from maou.data.config import DataConfig
from maou.data.loader import Loader
from maou.data.map_style import MapRows
from maou.data.rows import SideRows, side_rows
from maou.data.split import Split, split_by_game
from maou.data.streaming import StreamingRows
from maou.sources.local import ShardSet

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

    shards: ShardSet
    split: Split
    training: SideRows
    validation: SideRows
    streaming: bool
    train_loader: Loader
    validation_batches: StreamingRows


def prepare_data(
    shards: ShardSet, config: DataConfig, cache_mode: str = "file"
) -> TrainingData:
    """Split opened shards by game and make the loaders.

    Args:
        shards: the opened shards.
        config: split, order, batches and workers.
        cache_mode: how a map-style dataset holds its rows (`file` or `memory`).

    Raises:
        DataError: the rows cannot be split or read.
    """
    split = split_by_game(shards.shards, config.test_ratio, config.seed)
    training = side_rows(shards.shards, split, validation=False)
    validation = side_rows(shards.shards, split, validation=True)
    streaming = config.streaming
    if streaming is None:
        streaming = len(shards.shards) > 1
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
        split=split,
        training=training,
        validation=validation,
        streaming=streaming,
        train_loader=Loader(rows, config),
        validation_batches=in_order(validation, config.batch_size),
    )


def in_order(side: SideRows, batch_size: int) -> StreamingRows:
    """Give one side's batches in an order that is the same every time."""
    return StreamingRows(
        side=side, batch_size=batch_size, window_rows=VALIDATION_WINDOW, seed=0
    )
