"""Peak memory of training from one large raw file, for several shuffle settings.

Generates a file of 100 million positions (3.8 GB) from real ones, then, in a process of
its own for each setting: opens it as learn-model does, splits it, streams every
training row of an epoch and trains a tiny network on some of the batches. Printed are
the peak resident memory and what it is above a process that has the network alone.

    python benchmarks/memory.py [HCPE_FILE] [--rows N] [--folder DIR]
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import report
from maou.records.raw import RawShard

DEFAULT = Path(__file__).parent.parent / "tests" / "data" / "selfplay.hcpe"
SETTINGS = (1, 524_288, 8_388_608)
TRAIN_EVERY = 2000
LIMIT_MB = 1500


def main() -> None:
    """Generate, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, nargs="?", default=DEFAULT)
    parser.add_argument("--rows", type=int, default=100_000_000)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--child", type=int, default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        child(options.file, options.child)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        large = Path(folder) / "large.hcpe"
        generate(options.file, large, options.rows)
        results = {}
        for setting in (0, *SETTINGS):
            command = [sys.executable, __file__, str(large), "--child", str(setting)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            results[setting] = json.loads(done.stdout.splitlines()[-1])
    alone = results.pop(0)["peak_mb"]
    rows = [
        [
            f"--shuffle-rows {setting:,}",
            f"{result['rows']:,}",
            f"{result['peak_mb']:,.0f}",
            f"{result['peak_mb'] - alone:,.0f}",
        ]
        for setting, result in results.items()
    ]
    report.show(["setting", "rows streamed", "peak MB", "beyond the network"], rows)
    print(f"the network alone: {alone:,.0f} MB; the limit is {LIMIT_MB:,} MB beyond it")
    report.finish(
        "memory",
        {
            "file_rows": options.rows,
            "network_alone_mb": alone,
            "peak_mb": {str(k): v["peak_mb"] for k, v in results.items()},
        },
    )


def generate(source: Path, target: Path, rows: int) -> None:
    """Write real rows again and again, each time from another place."""
    shard = RawShard(source)
    real = shard.read(0, shard.rows)
    left = rows
    with target.open("wb") as stream:
        turn = 0
        while left:
            part = np.roll(real, -turn * 977, axis=0)[:left]
            stream.write(part.tobytes())
            left -= len(part)
            turn += 1


def child(path: Path, shuffle_rows: int) -> None:
    """Train from the file (or, with setting 0, make the network alone)."""
    import torch

    from maou.data.config import DataConfig
    from maou.data.overlap import count_known_positions
    from maou.data.pipeline import prepare_data
    from maou.losses.config import LossConfig
    from maou.model.config import ModelConfig
    from maou.model.network import build_network
    from maou.optim.config import OptimConfig
    from maou.optim.optimizer import build_optimizer
    from maou.sources.local import open_local_shards
    from maou.train.device import resolve_compute
    from maou.train.step import accumulate_gradients
    from maou.train.task import PolicyValueTask

    torch.set_num_threads(1)
    network = build_network(ModelConfig(resnet_blocks=1, resnet_channels=16))
    optimizer = build_optimizer(network.named_parameters(), OptimConfig())
    compute = resolve_compute("cpu")
    task = PolicyValueTask(LossConfig())
    config = DataConfig(streaming=True, shuffle_rows=max(1, shuffle_rows))
    if shuffle_rows == 0:
        path = DEFAULT
    data = prepare_data(open_local_shards(path), config)
    count_known_positions(data.training, data.validation)
    rows = 0
    for number, batch in enumerate(data.train_loader.batches(0)):
        rows += len(batch)
        if number % TRAIN_EVERY == 0:
            accumulate_gradients(network, [batch], task, compute)
            optimizer.step()
            optimizer.zero_grad()
        if shuffle_rows == 1 and number == TRAIN_EVERY:
            break  # row by row is slow, and its memory does not grow
    assert shuffle_rows <= 1 or rows == data.training.count
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"rows": rows, "peak_mb": peak}))


if __name__ == "__main__":
    main()
