"""What it costs to train from a store that is slower than the device.

The real store of the tests (fake-gcs-server, or moto for S3) in a process of its own,
behind a line that lets `--rate` MB a second through in all; the real source, split and
loader. The device is a clock: a step takes as long as one of `--device` positions a
second, and leaves the processor alone, as a GPU does. In turns:

- overlap: shards are read while they come (what learn-model does);
- fetched first: training begins when all is there;
- local: the same files in a folder, for what waiting has to do with the store at all.

    python benchmarks/overlap.py [HCPE_FILE] [--shards N] [--shard-rows N] [--rounds N]
"""

import argparse
import importlib
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch

import report
from maou.data.arrival import fetch_in_order
from maou.data.config import DataConfig
from maou.data.pipeline import open_data, prepare_data
from maou.records.raw import RawShard
from maou.sources.config import SourceConfig
from maou.train.loop import BEFORE_ROWS

TESTS = Path(__file__).parent.parent / "tests"
DEFAULT = TESTS / "data" / "selfplay.hcpe"
BATCH = 1000


@dataclass(frozen=True)
class Run:
    """One epoch, in seconds.

    Attributes:
        first_step: until the first training batch was there, validation included.
        waited: for batches, validation included, from opening the source on.
        total: until the last step.
    """

    first_step: float
    waited: float
    total: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, nargs="?", default=DEFAULT)
    parser.add_argument("--provider", choices=("gcs", "s3"), default="gcs")
    parser.add_argument("--shards", type=int, default=32)
    parser.add_argument("--shard-rows", type=int, default=125_000)
    parser.add_argument("--rate", type=float, default=20, help="MB a second")
    parser.add_argument("--device", type=float, default=400_000, help="positions/s")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=0, help="loader processes")
    options = parser.parse_args()
    torch.set_num_threads(1)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "local"
        write_shards(options.file, folder, options.shards, options.shard_rows)
        arguments = (theirs, folder, options.provider, options.rate)
        store = context.Process(target=serve, args=arguments, daemon=True)
        store.start()
        os.environ.update(ours.recv())
        try:
            measure(Path(place), options)
        finally:
            ours.send("end")
            store.join()


def write_shards(source: Path, folder: Path, shards: int, rows: int) -> None:
    """Write shards of real rows, each from another place of the source."""
    folder.mkdir()
    shard = RawShard(source)
    real = shard.read(0, shard.rows)
    for number in range(shards):
        turned = np.roll(real, -number * (shard.rows // shards), axis=0)
        part = np.resize(turned, (rows, real.shape[1]))
        (folder / f"{number:03}.hcpe").write_bytes(part.tobytes())


def serve(pipe: Connection, folder: Path, provider: str, rate: float) -> None:
    """Be the store, until told to end."""
    sys.path.insert(0, str(TESTS))
    stores = importlib.import_module("cloud_stores")
    store = stores.STORES[provider]()
    store.upload(folder, "overlap")
    line = importlib.import_module("slow_line").SlowLine(
        store.proxy.upstream, rate * 1e6
    )
    pipe.send(
        {
            name: value.replace(store.proxy.url, f"http://{line.address}")
            for name, value in store.environment().items()
        }
    )
    pipe.recv()
    store.close()


def measure(place: Path, options: argparse.Namespace) -> None:
    """Run each kind in turns."""
    config = DataConfig(
        batch_size=BATCH, streaming=True, dataloader_workers=options.workers
    )
    runs: dict[str, list[Run]] = {"local": [], "overlap": [], "fetched first": []}

    def once(name: str, cache: Path) -> None:
        local = SourceConfig(input_path=place / "local")
        remote = SourceConfig(
            input_gcs=options.provider == "gcs",
            input_s3=options.provider == "s3",
            input_bucket_name="positions",
            input_prefix="sets",
            input_data_name="overlap",
            input_local_cache_dir=cache,
        )
        source = local if name == "local" else remote
        runs[name].append(
            epoch(source, config, options.device, early=name == "overlap")
        )

    for number in range(options.rounds + 1):
        for name, done in runs.items():
            with tempfile.TemporaryDirectory(dir=place) as cache:
                once(name, Path(cache))
            print(number, name, done[-1], file=sys.stderr)
            if not number:
                done.clear()
    size = sum(file.stat().st_size for file in (place / "local").iterdir())
    show(runs, size / 1e6 / options.rate)


def epoch(
    source: SourceConfig, config: DataConfig, device: float, *, early: bool
) -> Run:
    """Open a source and make an epoch of it, as learn-model does."""
    begin = time.perf_counter()
    shards = open_data(source, early=early)
    data = prepare_data(shards, config)
    fetch_in_order(data, config, (0, 0), BEFORE_ROWS)
    shards.fingerprint()
    busy, first, rows = 0.0, 0.0, 0

    def step(count: int, speed: float) -> None:
        nonlocal busy
        since = time.perf_counter()
        time.sleep(count / speed)
        busy += time.perf_counter() - since

    for batch in data.validation_batches.batches(0):
        step(len(batch), 3 * device)  # forward only
        rows += len(batch)
        if rows >= BEFORE_ROWS:
            break
    for batch in data.train_loader.batches(0):
        first = first or time.perf_counter() - begin
        step(len(batch), device)
    total = time.perf_counter() - begin
    if shards.arriving is not None:
        shards.arriving.close()
    return Run(first, total - busy, total)


def show(runs: dict[str, list[Run]], bound: float) -> None:
    """Print medians, and ratios within rounds."""
    kinds: dict[str, Callable[[Run], float]] = {
        "first step, s": lambda run: run.first_step,
        "waited, s": lambda run: run.waited,
        "total, s": lambda run: run.total,
    }

    def median(name: str, kind: str) -> float:
        return statistics.median(map(kinds[kind], runs[name]))

    def ratio(kind: str) -> float:
        get = kinds[kind]
        pairs = zip(runs["fetched first"], runs["overlap"], strict=True)
        return statistics.median(get(late) / get(early) for late, early in pairs)

    rows = [[name, *(f"{median(name, kind):.1f}" for kind in kinds)] for name in runs]
    rows.append(["fetched first / overlap", *(f"{ratio(kind):.2f}" for kind in kinds)])
    report.show(["", *kinds], rows)
    print(f"all bytes at this rate: {bound:.1f} s")
    medians = {n: {kind: median(n, kind) for kind in kinds} for n in runs}
    ratios = {kind: ratio(kind) for kind in kinds}
    report.finish("overlap", {"medians": medians, "ratios": ratios, "bound": bound})


if __name__ == "__main__":
    main()
