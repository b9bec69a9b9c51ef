"""Positions per second from files on disk to shuffled batches of tensors.

One process, no workers. Ours streams or holds rows in memory, with and without
`--cache-transforms` (from the second epoch on); the other side reads the same files
with numpy, shuffles them and decodes with cshogi in a Python loop, as many scripts do.

    python benchmarks/loader.py [HCPE_FILE] [--batch-size N] [--rounds N]
"""

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

import report
from maou.data.batch import PlayedBatch
from maou.data.config import DataConfig
from maou.data.loader import Loader
from maou.data.pipeline import prepare_data
from maou.records.raw import RawShard
from maou.sources.local import open_local_shards

DEFAULT = Path(__file__).parent.parent / "tests" / "data" / "selfplay.hcpe"
SHARDS, SHARD_ROWS, THEIRS_ROWS = 8, 250_000, 10_000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, nargs="?", default=DEFAULT)
    parser.add_argument("--batch-size", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        write_shards(options.file, Path(folder))
        measure(Path(folder), options.batch_size, options.rounds)


def write_shards(source: Path, folder: Path) -> None:
    """Write shards of real rows, each from another place of the source."""
    shard = RawShard(source)
    real = shard.read(0, shard.rows)
    for number in range(SHARDS):
        turned = np.roll(real, -number * (shard.rows // SHARDS), axis=0)
        rows = np.resize(turned, (SHARD_ROWS, real.shape[1]))
        (folder / f"{number}.hcpe").write_bytes(rows.tobytes())


def measure(folder: Path, batch_size: int, rounds: int) -> None:
    """Time epochs of each kind in turns."""
    sides = {}
    for name, streaming in (("streaming", True), ("map-style", False)):
        for cached, words in ((False, ""), (True, ", --cache-transforms")):
            config = DataConfig(
                batch_size=batch_size, streaming=streaming, cache_transforms=cached
            )
            data = prepare_data(open_local_shards(folder), config)
            sides[f"maou: {name}{words}"] = data
    works: dict[str, Callable[[], object]] = {
        name: partial(epoch, data.train_loader) for name, data in sides.items()
    }
    rows = next(iter(sides.values())).training.count
    theirs = folder / "0.hcpe"
    works["cshogi: numpy shuffle, Python loop"] = lambda: cshogi_loader(
        theirs, batch_size
    )
    times = report.in_turns(works, rounds)
    rates = {
        name: report.median_rate(rows if "maou" in name else THEIRS_ROWS, times[name])
        for name in works
    }
    ours = rates["maou: streaming"]
    report.show(
        ["files to tensors, one process", "positions/s", "streaming is faster"],
        [
            [name, f"{rate:,.0f}", f"{ours / rate:.1f} x"]
            for name, rate in rates.items()
        ],
    )
    report.finish(
        "loader",
        {"positions_per_second": rates, "batch_size": batch_size, "rows": rows},
    )


def epoch(loader: Loader) -> None:
    """Take every batch of an epoch and look at its tensors."""
    for batch in loader.batches(0):
        assert isinstance(batch, PlayedBatch)
        assert batch.board_BS.shape[0] == batch.policy_target().shape[0]


def cshogi_loader(path: Path, batch_size: int) -> None:
    """Read, shuffle and decode the same content with cshogi."""
    import cshogi
    from cshogi.dlshogi import make_move_label

    records = np.fromfile(path, dtype=cshogi.HuffmanCodedPosAndEval)
    records = records[np.random.default_rng(0).permutation(len(records))[:THEIRS_ROWS]]
    board = cshogi.Board()
    for first in range(0, len(records), batch_size):
        part = records[first : first + batch_size]
        pieces = np.empty((len(part), 81), dtype=np.uint8)
        hands = np.empty((len(part), 14), dtype=np.uint8)
        labels = np.empty(len(part), dtype=np.int64)
        results = np.empty(len(part), dtype=np.float32)
        for i, record in enumerate(part):
            board.set_hcp(record["hcp"])
            pieces[i] = board.pieces
            black, white = board.pieces_in_hand
            hands[i, :7], hands[i, 7:] = black, white
            move = board.move_from_move16(int(record["bestMove16"]))
            labels[i] = make_move_label(move, board.turn)
            results[i] = record["gameResult"] == board.turn + 1
        tensors = [torch.from_numpy(a) for a in (pieces, hands, labels, results)]
        assert len(tensors[0]) == len(part)


if __name__ == "__main__":
    main()
