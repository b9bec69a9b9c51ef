"""The data of a run: opened shards, their split, and loaders for both sides."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from typing_extensions import TypeIs

from maou.data.config import DataConfig
from maou.data.kinds import HCPE_ROWS, SOFT_ROWS, RowKind
from maou.data.loader import Loader
from maou.data.map_style import MapRows, shared_room
from maou.data.rows import ReadableShard, SideRows, side_rows
from maou.data.soft_rows import SoftShard
from maou.data.stage_rows import STAGE_ROWS
from maou.data.streaming import StreamingRows
from maou.errors import DataError
from maou.records.keys import key_of
from maou.records.preprocess_shards import PreprocessShard
from maou.records.shards import Shard
from maou.records.split import (
    Split,
    split_by_game,
    split_by_marks,
    split_by_row,
    split_by_shard,
    take_all,
)
from maou.records.stage_shards import StageShard
from maou.sources.config import PREPROCESS, FormatConfig
from maou.sources.local import (
    AnyShards,
    PlayedShards,
    ShardSet,
    hcpe_kind,
    preprocess_kind,
)
from maou.sources.opening import open_source

SIDES = ("train", "validation")

VALIDATION_WINDOW = 131_072
"""Rows that validation holds at a time: 5 MB; its order does not matter."""

BY_ROW_WARNING = (
    "the records name no games, so positions of one game may be on both sides and "
    "validation will flatter. Give several shards, or the train/ and validation/ "
    "folders that maou pre-process writes."
)


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
    validation_batches: Loader


def open_data(
    source: FormatConfig,
    tell: Callable[[str], None] = lambda _: None,
    *,
    early: bool = False,
) -> PlayedShards:
    """Open the shards that a source names, reading headers only.

    Those of a cloud store are fetched first, and are local files from then on.

    Args:
        source: the source, with all its partner flags.
        tell: called with lines about the progress of a fetch.
        early: return before all is fetched, where the rows can be read while they come.

    Raises:
        ConfigError: the source names none, or lacks what its store needs.
        RemoteError: the store cannot be reached, refuses, or changes meanwhile.
        DataError: nothing there, or a file is not what it should be.
    """
    if source.input_format == PREPROCESS:
        kind = preprocess_kind(source.input_file_packed)
        return open_source(source, kind, tell, early=early)
    return open_source(source, hcpe_kind(), tell, early=early)


def prepare_data(
    shards: PlayedShards, config: DataConfig, cache_mode: str = "file"
) -> TrainingData:
    """Split opened shards by game and make the loaders.

    Args:
        shards: the opened shards, all of one kind.
        config: split, order, batches and workers.
        cache_mode: how a map-style dataset holds its rows (`file` or `memory`).

    Raises:
        DataError: the rows cannot be split or read.
    """
    sides = split_sides(shards, config.test_ratio, config.seed)
    return _with_loaders(shards, sides, config, joined=cache_mode == "memory")


def prepare_stage_data(
    shards: ShardSet[StageShard], stage: int, config: DataConfig
) -> TrainingData:
    """Make the loaders of stage 1 or 2; the rows are never joined in one array.

    Stage 1 has all cases there are, so none is held out: all are trained and measured.
    Stage 2 is split by position where --stage2-test-ratio asks for it. Positions are
    distinct and their legal moves follow from themselves, so no answer leaks.

    Args:
        shards: opened shards of the stage.
        stage: 1 or 2.
        config: split, order, batches and workers.

    Raises:
        DataError: the rows cannot be split or read.
    """
    kind = STAGE_ROWS[stage]
    if stage == 2 and config.stage2_test_ratio > 0:
        split = split_by_row(
            shards.shards,
            lambda index: shards.shards[index].ids(),
            config.stage2_test_ratio,
            config.seed,
        )
        sides = _sides(shards.shards, split, kind)
    else:
        every = take_all(shards.shards)
        training = side_rows(shards.shards, every, validation=False, kind=kind)
        sides = (training, training)
    return _with_loaders(shards, sides, config, joined=False)


def _with_loaders(
    shards: AnyShards,
    sides: tuple[SideRows, SideRows],
    config: DataConfig,
    *,
    joined: bool,
) -> TrainingData:
    """Make the loaders of both sides; `joined` is for map-style data."""
    training, validation = sides
    streaming = config.streaming
    if streaming is None:
        streaming = len(np.unique(training.bounds[:, 0])) > 1
    limit = _cache_limit(config, training, streaming=streaming)
    rows: StreamingRows | MapRows
    if streaming:
        rows = StreamingRows(
            side=training,
            batch_size=config.batch_size,
            window_rows=config.shuffle_rows,
            seed=config.seed,
            mirror_probability=config.mirror_probability,
            cache_limit=limit,
        )
    else:
        rows = MapRows(
            training,
            config.batch_size,
            config.seed,
            config.mirror_probability,
            joined=joined,
            cache_limit=limit,
        )
    return TrainingData(
        shards=shards,
        split=training.split,
        training=training,
        validation=validation,
        streaming=streaming,
        train_loader=Loader(rows, config),
        validation_batches=Loader(
            in_order(validation, config.batch_size),
            dataclasses.replace(config, dataloader_workers=0),
        ),
    )


def _cache_limit(config: DataConfig, training: SideRows, *, streaming: bool) -> int:
    """Return how many bytes of decoded rows a process may keep."""
    hcpe = training.kind is HCPE_ROWS
    limit = config.cache_limit(streaming=streaming, hcpe=hcpe)
    room = shared_room() if config.dataloader_workers and not streaming else None
    return limit if room is None else min(limit, room // 2)


def split_sides(
    shards: PlayedShards, test_ratio: float, seed: int
) -> tuple[SideRows, SideRows]:
    """Split shards of either kind; give the training and the validation rows.

    Raises:
        DataError: the rows cannot be split or read.
    """
    if holds_preprocess(shards):
        split = _split_preprocess(shards, test_ratio, seed)
        return _sides(soft_shards(shards), split, SOFT_ROWS)
    split = split_by_game(shards.shards, test_ratio, seed)
    return _sides(shards.shards, split, HCPE_ROWS)


def _sides(
    shards: tuple[ReadableShard, ...], split: Split, kind: RowKind
) -> tuple[SideRows, SideRows]:
    return (
        side_rows(shards, split, validation=False, kind=kind),
        side_rows(shards, split, validation=True, kind=kind),
    )


def all_rows(shards: PlayedShards) -> SideRows:
    """Take every row of shards of either kind, on one side."""
    if holds_preprocess(shards):
        soft = soft_shards(shards)
        return side_rows(soft, take_all(soft), validation=False, kind=SOFT_ROWS)
    return side_rows(shards.shards, take_all(shards.shards), validation=False)


def holds_preprocess(shards: AnyShards) -> TypeIs[ShardSet[PreprocessShard]]:
    """Tell whether shards hold preprocess records."""
    return isinstance(shards.shards[0], PreprocessShard)


def holds_games(shards: AnyShards) -> TypeIs[ShardSet[Shard]]:
    """Tell whether shards hold hcpe records."""
    return isinstance(shards.shards[0], Shard)


def holds_stage(shards: AnyShards) -> TypeIs[ShardSet[StageShard]]:
    """Tell whether shards hold records of stage 1 or 2."""
    return isinstance(shards.shards[0], StageShard)


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
        hashes = [key_of(seed, *_words(shard)) for shard in shards.shards]
        return split_by_shard(shards.shards, hashes, test_ratio)
    numbers = np.arange(rows[0], dtype=np.uint64)
    return split_by_row(
        shards.shards, lambda _: iter((numbers,)), test_ratio, seed, BY_ROW_WARNING
    )


def _words(shard: PreprocessShard) -> list[int]:
    """Identify a preprocess shard by its first and last position."""
    ends = [shard.codes(row, row + 1) for row in (0, shard.rows - 1)]
    return [int(word) for code in ends for word in code.reshape(-1).view("<u8")]


def in_order(side: SideRows, batch_size: int) -> StreamingRows:
    """Give one side's batches in an order that is the same every time."""
    return StreamingRows(
        side=side, batch_size=batch_size, window_rows=VALIDATION_WINDOW, seed=0
    )
