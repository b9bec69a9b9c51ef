"""What a corpus of a billion positions takes, worked out from games of your own.

Measures on this machine: bytes a position in each container, the share of distinct
positions, the speed of each step for a core, memory and temporary disk, and the
overhead of a store (fake-gcs-server on loopback). Then multiplies. docs/scale.md sets
prices and limits of providers beside these figures.

    python benchmarks/scale.py GAMES [--positions N] [--json FILE]

GAMES is a folder of CSA, KIF or KI2 games. Speeds are for a second of one core's time
(CPU time), since other work on the machine does not move that much, and without the
start of the process: what a whole run takes more than one on half of the files, each
the best of three.
"""

import argparse
import importlib
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np

import report
from maou.records.containers import open_hcpe_shard
from maou.records.preprocess import position_ids
from maou.shogi.hcp import decode_hcp, encode_hcp
from maou.sources.config import RecordInputConfig
from maou.sources.local import hcpe_kind, open_local_shards
from maou.sources.remote import fetch_files, open_remote_shards
from preprocess import generate, measured

Figures = dict[str, float]

MAOU = (sys.executable, "-m", "maou")
CONVERT = (*MAOU, "hcpe-convert", "--workers", "0", "--input-path")
AGGREGATE = (*MAOU, "pre-process", "--workers", "1", "--input-path")
SHARD_ROWS = 50_000
GENERATED = (2_000_000, 5_000_000)
FRACTIONS = (0.125, 0.25, 0.5, 1.0)
OBJECTS = ((1_000, 50_000), (25, 20_000_000))
"""How many objects of how many bytes show what one costs, and what a byte costs."""


def main() -> None:
    """Measure, multiply and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("games", type=Path)
    parser.add_argument("--positions", type=float, default=1e9)
    parser.add_argument("--folder", type=Path, default=None, help="for temporary files")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        found = convert(options.games, folder)
        found |= distinct(folder / "feather")
        found |= aggregate(folder)
        found |= load(folder)
        found |= fetch(folder)
    show_measured(found)
    show_corpus(found, options.positions)
    report.finish("scale", {"corpus": options.positions, **found})


def convert(games: Path, folder: Path) -> Figures:
    """Convert the games to each container with one worker."""
    found: Figures = {}
    for container in ("feather", "npy", "hcpe"):
        out = folder / container
        flags = ["--output-format", container, "--shard-rows", str(SHARD_ROWS)]
        taken = measured([*CONVERT, str(games), "--output-dir", str(out), *flags], 1)
        progress = json.loads((out / "hcpe-convert.json").read_text())
        positions = progress["positions"]
        size = sum(path.stat().st_size for path in out.glob(f"hcpe-*.{container}"))
        found[f"{container} bytes"] = size / positions
        if container != "feather":
            continue
        found["positions"] = positions
        found["positions a game"] = positions / progress["converted"]
        found["games bytes"] = progress["inputs"]["bytes"] / positions
        found["hcpe-convert MB"] = taken["peak_bytes"] / 1e6
        found["hcpe-convert a core"] = rate_between(
            [*CONVERT, str(games)],
            [*CONVERT, str(some_of(games, folder / "half"))],
            lambda made: json.loads((made / "hcpe-convert.json").read_text())[
                "positions"
            ],
        )
    return found


def some_of(folder: Path, half: Path) -> Path:
    """Link every other file of a folder into another."""
    half.mkdir()
    for number, path in enumerate(sorted(p for p in folder.iterdir() if p.is_file())):
        if number % 2 == 0 and path.suffix != ".json" and path.name != "rejects.tsv":
            (half / path.name).symlink_to(path.resolve())
    return half


def distinct(shards: Path) -> Figures:
    """Count the distinct positions of the first games, half of them, and so on.

    How their number grows with the number of positions is taken for a power, fitted to
    the last doubling; what it says of a thousand times more is a guess.
    """
    opened = open_local_shards(shards).shards
    ids = np.concatenate([_ids(shard.path) for shard in opened])
    counts = {}
    for fraction in FRACTIONS:
        rows = int(len(ids) * fraction)
        counts[rows] = len(np.unique(ids[:rows]))
    (half, fewer), (whole, more) = list(counts.items())[-2:]
    power = float(np.log(more / fewer) / np.log(whole / half))
    shares = {f"distinct of {rows}": n / rows for rows, n in counts.items()}
    return {**shares, "distinct": more / whole, "power": power}


def _ids(path: Path) -> Any:
    shard = open_hcpe_shard(path)
    board_BS, hand_BH, _ = decode_hcp(shard.read(0, shard.rows))
    return position_ids(encode_hcp(board_BS, hand_BH)[0])


def aggregate(folder: Path) -> Figures:
    """Pre-process the positions, watching how much the output folder holds."""
    found: Figures = {}
    source = folder / "feather"
    for form, container in (("packed", "npy"), ("feather packed", "feather")):
        out = folder / f"out {form}"
        command = [*AGGREGATE, str(source), "--output-dir", str(out)]
        with _Watch(out) as watch:
            taken = measured([*command, "--output-format", container], 1)
        state = json.loads((out / "pre-process.json").read_text())
        made, rows = sum(state["positions"]), sum(state["rows"])
        size = sum(shard["bytes"] for shard in state["shards"])
        found[f"{form} bytes"] = size / made
        if form == "packed":
            found["pre-process MB"] = taken["peak_bytes"] / 1e6
            found["pre-process disk bytes"] = watch.most / rows
            found["written share"] = made / rows
    # Of so few positions the start of the process is most of the time.
    real = next((folder / "hcpe").glob("*.hcpe"))
    places = []
    for rows in GENERATED:
        places.append(folder / f"generated-{rows}.hcpe")
        generate(real, places[-1], rows)
    found["pre-process a core"] = rate_between(
        [*AGGREGATE, str(places[1])],
        [*AGGREGATE, str(places[0])],
        lambda made: sum(json.loads((made / "pre-process.json").read_text())["rows"]),
    )
    return found


def rate_between(
    whole: list[str], half: list[str], rows_of: Callable[[Path], int], rounds: int = 3
) -> float:
    """Give rows a second of CPU time, from what all of it takes more than a half."""
    seconds: dict[str, list[float]] = {"whole": [], "half": []}
    rows = {}
    for _ in range(rounds):
        for name, command in (("whole", whole), ("half", half)):
            with tempfile.TemporaryDirectory() as out:
                taken = measured([*command, "--output-dir", f"{out}/out"], 1)
                rows[name] = rows_of(Path(out) / "out")
            seconds[name].append(taken["cpu_seconds"])
    more = min(seconds["whole"]) - min(seconds["half"])
    return (rows["whole"] - rows["half"]) / more


class _Watch:
    """Looks at a folder's size until it is told to stop."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.most = folder, 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stop.wait(0.02):
            size = 0
            for path in self.folder.rglob("*"):
                try:
                    size += path.stat().st_size
                except FileNotFoundError:
                    continue
            self.most = max(self.most, size)


def load(folder: Path) -> Figures:
    """Read batches of both kinds, streamed, in one process."""
    from maou.data.config import DataConfig
    from maou.data.pipeline import open_data, prepare_data
    from maou.sources.config import SourceConfig

    kinds = {
        "hcpe": SourceConfig(input_path=folder / "feather"),
        "packed": SourceConfig(
            input_path=folder / "out packed",
            input_format="preprocess",
            input_file_packed=True,
        ),
    }
    found: Figures = {}
    for kind, source in kinds.items():
        config = DataConfig(streaming=True, cache_transforms=False)
        prepare_data(open_data(source), config)  # loads the kernels
        begin = time.process_time()
        data = prepare_data(open_data(source), config)
        spent = time.process_time() - begin
        found[f"start {kind} a core"] = data.shards.rows / spent
        for _ in data.train_loader.batches(0):
            pass
        begin, rows = time.process_time(), 0
        for epoch in range(1, 4):
            rows += sum(len(batch) for batch in data.train_loader.batches(epoch))
        found[f"loader {kind} a core"] = rows / (time.process_time() - begin)
    return found


def fetch(folder: Path) -> Figures:
    """Fetch few large and many small objects from a store on loopback."""
    sys.path.append(str(Path(__file__).parent.parent / "tests"))
    stores: Any = importlib.import_module("cloud_stores")
    server = stores.GCSStore()
    os.environ["STORAGE_EMULATOR_HOST"] = f"http://{server.proxy.upstream}"
    seconds = {}
    for count, size in OBJECTS:
        data = os.urandom(size)
        for number in range(count):
            server.put(f"sets/{count}/{number:05}.bin", data)
        source = _source(stores.BUCKET, str(count), folder)
        for turn in ("first", "second"):
            begin = time.perf_counter()
            fetch_files(source, lambda found: (sorted(found.items), []), print)
            seconds[count, turn] = time.perf_counter() - begin
    (many, small), (few, large) = OBJECTS
    # Two equations: time = objects * each + bytes / rate.
    matrix = [[many, many * small], [few, few * large]]
    each, byte = np.linalg.solve(
        matrix, [seconds[many, "first"], seconds[few, "first"]]
    )
    rows = np.fromfile(next((folder / "hcpe").glob("*.hcpe")), dtype=np.uint8)[:380_000]
    for number in range(200):
        server.put(f"sets/bundled/{number:05}.hcpe", rows.tobytes())
    bundling = _source(stores.BUCKET, "bundled", folder, bundle=0.02)
    shards = open_remote_shards(bundling, hcpe_kind(), print)
    server.close()
    return {
        "object ms": each * 1e3,
        "fetch MB/s": 1 / byte / 1e6,
        "second start ms an object": seconds[many, "second"] / many * 1e3,
        "bundles of 200 objects": len(shards.shards),
    }


def _source(
    bucket: str, name: str, folder: Path, bundle: float | None = None
) -> RecordInputConfig:
    return RecordInputConfig(
        input_gcs=True,
        input_bucket_name=bucket,
        input_prefix="sets",
        input_data_name=name,
        input_local_cache_dir=folder / "cache",
        input_enable_bundling=bundle is not None,
        input_bundle_size_gb=bundle or 1.0,
    )


def show_measured(found: Figures) -> None:
    """Print what was measured."""
    report.show(
        ["measured", ""],
        [
            [name, f"{value:,.4g}" if value < 100 else f"{value:,.0f}"]
            for name, value in found.items()
        ],
    )
    print()


def show_corpus(found: Figures, positions: float) -> None:
    """Print what that makes for a corpus, step by step."""
    least = (positions / found["positions"]) ** (found["power"] - 1)
    rows = []
    for what, size in (
        ("games", found["games bytes"]),
        ("hcpe feather", found["feather bytes"]),
        ("hcpe npy", found["npy bytes"]),
        ("hcpe raw", found["hcpe bytes"]),
    ):
        rows.append([what, f"{size:.1f}", f"{positions * size / 1e9:,.0f}"])
    for title, share in (
        ("as measured", found["distinct"]),
        ("extrapolated", found["distinct"] * least),
    ):
        for form in ("packed", "feather packed"):
            size = found[f"{form} bytes"]
            total = positions * share * size / 1e9
            what = f"preprocess {form}, {share:.0%} distinct ({title})"
            rows.append([what, f"{size:.1f}", f"{total:,.0f}"])
    spilled = found["pre-process disk bytes"]
    what = "pre-process, temporary and output"
    rows.append([what, f"{spilled:.1f}", f"{positions * spilled / 1e9:,.0f}"])
    report.show([f"{positions:,.0f} positions", "bytes each", "GB"], rows)
    print()
    steps = (
        *("hcpe-convert", "pre-process", "start hcpe"),
        *("loader hcpe", "loader packed"),
    )
    rates = {step: found[f"{step} a core"] for step in steps}
    report.show(
        ["step", "positions/s a core", "core hours"],
        [
            [step, f"{rate:,.0f}", f"{positions / rate / 3600:.2f}"]
            for step, rate in rates.items()
        ],
    )


if __name__ == "__main__":
    main()
