"""Shards of records: sound files of every container, and how training reads them."""

import functools
import io
import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa

from fuzz.engine import Target
from fuzz.mutations import flipped, npy_header_changed, overwritten
from game_shards import hcpe3_bytes, random_games
from maou.records.containers import open_hcpe_shard
from maou.records.preprocess_containers import kind_of_file, open_preprocess_shard
from maou.records.shards import Shard
from maou.records.stage_shards import StageShard
from maou.records.write_preprocess import write_preprocess_shard
from maou.shogi.samples import decode_samples
from maou.sources.bundles import join
from preprocess_blocks import made_block, part_of
from shard_files import CONTAINERS, table_of, write_feather
from stage_files import stage2_records, unpacked

DATA = Path(__file__).parents[1] / "data"


def rows_of(count: int) -> Any:
    """Return real records, uint8 [count, 38]."""
    return np.fromfile(DATA / "selfplay-256.hcpe", dtype=np.uint8).reshape(-1, 38)[
        :count
    ]


def _made(suffix: str, write: Callable[[Path], object]) -> bytes:
    """Return what a writer leaves in a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"made{suffix}")
        write(path)
        return path.read_bytes()


# Shards of hcpe records.


@functools.cache
def _containers(suffix: str) -> tuple[bytes, ...]:
    rows, ids = rows_of(24), [f"game/{i // 5}_{i % 5}" for i in range(24)]
    return tuple(
        _made(suffix, lambda path, way=way: way.write(path, rows, ids, (7, 7, 20)))
        for way in CONTAINERS.values()
        if way.suffix == suffix
    )


def _read_shard(suffix: str) -> Callable[[bytes, Path], None]:
    def read(data: bytes, folder: Path) -> None:
        path = folder / f"shard{suffix}"
        path.write_bytes(data)
        read_hcpe(path)

    return read


def read_hcpe(path: Path) -> None:
    """Read a shard of hcpe records as training does: in blocks, then by row."""
    kind_of_file(path)
    shard: Shard = open_hcpe_shard(path)
    bounds = shard.block_bounds(10).tolist()
    assert bounds[0] == 0
    assert bounds[-1] == shard.rows
    for start, stop in itertools.pairwise(bounds):
        rows = shard.read(start, stop)
        assert rows.shape == (stop - start, 38)
        decode_samples(rows)
        if shard.has_ids:
            assert len(shard.game_keys(start, stop)) == stop - start
    shard.read(shard.rows - 1, shard.rows)
    if path.suffix in (".npy", ".feather"):
        join([("a", path), ("b", path)], io.BytesIO())


def _arrow_changed(data: bytes, random: Random) -> bytes:
    """Change numbers of the footer and of the first metadata, where sizes stand."""
    head = min(len(data), 1200)
    tail = max(0, len(data) - 900)
    begin, end = random.choice(((8, head), (tail, len(data))))
    part = data[begin:end]
    change = random.choice((overwritten, flipped))
    return data[:begin] + change(part, random) + data[end:]


@functools.cache
def _odd_feathers() -> tuple[bytes, ...]:
    """Sound files whose columns are of unusual types."""
    rows = rows_of(20)
    table = table_of(rows, [f"g_{i}" for i in range(20)])
    zstd = _made(".feather", lambda path: write_feather(path, table, (5,), "zstd"))
    big = table.replace_schema_metadata({"note": "x" * 5000, "\x1b[31m": "y"})
    noted = _made(".feather", lambda path: write_feather(path, big, (10,), None))
    deeply = pa.array([[[{"a": [1, None]}]]] * 20)
    nested = table.append_column("deep", deeply)
    deep = _made(".feather", lambda path: write_feather(path, nested, (3,), "lz4"))
    return zstd, noted, deep


@functools.cache
def _hcpe3_seeds() -> tuple[bytes, ...]:
    return tuple(hcpe3_bytes(random_games(3, 12, seed)) for seed in (1, 2))


# Preprocess and stage records.


def _preprocess(suffix: str, packed: bool) -> bytes:
    block = made_block(rows_of(40))

    def write(path: Path) -> None:
        write_preprocess_shard(
            path, lambda a, b: part_of(block, a, b), len(block.codes),
            len(block.labels), packed,
        )  # fmt: skip

    return _made(suffix, write)


@functools.cache
def _preprocess_seeds(suffix: str) -> tuple[bytes, ...]:
    return _preprocess(suffix, True), _preprocess(suffix, False)


def _read_preprocess(suffix: str) -> Callable[[bytes, Path], None]:
    def read(data: bytes, folder: Path) -> None:
        path = folder / f"shard{suffix}"
        path.write_bytes(data)
        packed = kind_of_file(path) != "dense"
        shard = open_preprocess_shard(path, packed)
        bounds = shard.block_bounds(16).tolist()
        for start, stop in itertools.pairwise(bounds):
            assert len(shard.codes(start, stop)) == stop - start
            shard.read(start, stop)  # type: ignore[attr-defined]
        join([("a", path), ("b", path)], io.BytesIO())

    return read


@functools.cache
def _stage_seeds() -> tuple[bytes, ...]:
    with tempfile.TemporaryDirectory() as folder:
        made = stage2_records(rows_of(30), Path(folder))
    return tuple(
        _made(".npy", lambda path, kind=kind: np.save(path, kind))
        for kind in (made, unpacked(made, 2))
    )


def _read_stage(data: bytes, folder: Path) -> None:
    path = folder / "stage.npy"
    path.write_bytes(data)
    shard = StageShard(path, 2)
    list(shard.ids())
    shard.read(0, shard.rows)


SHARDS = (
    Target(
        "npy", lambda: _containers(".npy"), _read_shard(".npy"), (npy_header_changed,)
    ),
    Target(
        "feather",
        lambda: _containers(".feather") + _odd_feathers(),
        _read_shard(".feather"),
        (_arrow_changed,),
    ),
    Target("raw", lambda: _containers(".hcpe"), _read_shard(".hcpe")),
    Target("psv", lambda: _containers(".psv"), _read_shard(".psv")),
    Target("bin", lambda: _containers(".bin"), _read_shard(".bin")),
    Target("hcpe3", _hcpe3_seeds, _read_shard(".hcpe3"), (overwritten,)),
    Target(
        "preprocess npy",
        lambda: _preprocess_seeds(".npy"),
        _read_preprocess(".npy"),
        (npy_header_changed,),
    ),
    Target(
        "preprocess feather",
        lambda: _preprocess_seeds(".feather"),
        _read_preprocess(".feather"),
        (_arrow_changed,),
    ),
    Target("stage npy", _stage_seeds, _read_stage, (npy_header_changed,)),
)
