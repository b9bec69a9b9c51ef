"""Input positions per second of `maou pre-process` on each engine, as ratios.

The same raw records are aggregated by threads and by a Ray cluster of this machine,
which is started first and not counted. Shards are compared: they must be the same
bytes. All work is on one machine, so Ray's figure says what its shuffle costs, not what
more machines gain.

    python benchmarks/engines.py [HCPE_FILE] [--rows N] [--folder PATH]
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import preprocess
import report
from maou.convert.config_preprocess import PreProcessConfig
from maou.convert.preprocess import pre_process

PLAN = (("threads", 1), ("threads", 2), ("ray", 1), ("ray", 2))


def main() -> None:
    """Generate, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, nargs="?", default=preprocess.DEFAULT)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    cluster: Any = ray
    cluster.init(
        num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error"
    )
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        preprocess.generate(options.file, folder / "in.hcpe", options.rows)
        results = {
            f"{engine}, {workers}": measured(folder, engine, workers)
            for engine, workers in PLAN
        }
        first = shards(folder / "threads-1")
        same = all(shards(folder / f"{e}-{w}") == first for e, w in PLAN)
    cluster.shutdown()
    base = results["threads, 2"]
    report.show(
        [f"{options.rows:,} positions", "s", "positions/s", "ratio"],
        [
            [title, f"{s:.1f}", f"{options.rows / s:,.0f}", f"{base / s:.2f} x"]
            for title, s in results.items()
        ],
    )
    print(f"the shards {'are the same bytes' if same else 'DIFFER'}")
    report.finish("engines", {"rows": options.rows, "seconds": results})


def measured(folder: Path, engine: str, workers: int) -> float:
    """Aggregate once; give the seconds."""
    config = PreProcessConfig(
        input_path=folder / "in.hcpe",
        output_dir=folder / f"{engine}-{workers}",
        engine=engine,
        workers=workers,
    )
    began = time.perf_counter()
    pre_process(config)
    return time.perf_counter() - began


def shards(folder: Path) -> dict[str, bytes]:
    """Read what a run left."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("preprocess-*")
    }


if __name__ == "__main__":
    main()
