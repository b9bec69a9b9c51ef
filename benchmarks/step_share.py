"""The share of a training run's time that the step itself takes.

The same loop runs, in turns, on batches from the loader and on one batch kept in
memory. The second is the step alone; the ratio of their times is the share.

    python benchmarks/step_share.py [HCPE_FILE] [--batch-size N] [--steps N]
"""

import argparse
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

import report
from maou.data.batch import PositionBatch
from maou.data.config import DataConfig
from maou.data.loader import BatchSource
from maou.data.pipeline import prepare_data
from maou.losses.config import LossConfig
from maou.model.config import ModelConfig
from maou.model.network import build_network
from maou.optim.config import OptimConfig
from maou.optim.optimizer import build_optimizer
from maou.sources.local import open_local_shards
from maou.train.config import TrainConfig
from maou.train.device import resolve_compute
from maou.train.loop import Trainer
from maou.train.state import TrainState
from maou.train.task import PolicyValueTask

DEFAULT = Path(__file__).parent.parent / "tests" / "data" / "selfplay.hcpe"


@dataclass(frozen=True)
class FirstBatches:
    """The first batches of an epoch of a source, or one of them again and again."""

    source: BatchSource
    count: int
    kept: PositionBatch | None = None

    def __len__(self) -> int:
        return self.count

    def batches(self, epoch: int, start: int = 0) -> Iterator[PositionBatch]:
        """Yield `count` batches."""
        if self.kept is not None:
            for _ in range(self.count):
                yield self.kept
            return
        for _, batch in zip(
            range(self.count), self.source.batches(epoch, start), strict=False
        ):
            yield batch


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, nargs="?", default=DEFAULT)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--channels", type=int, default=32)
    options = parser.parse_args()
    config = DataConfig(batch_size=options.batch_size, streaming=True)
    data = prepare_data(open_local_shards(options.file), config)
    real = FirstBatches(data.train_loader, options.steps)
    kept = FirstBatches(real, options.steps, next(real.batches(0)))
    sizes = ModelConfig(resnet_blocks=options.blocks, resnet_channels=options.channels)
    network = build_network(sizes)
    state = TrainState(
        network, build_optimizer(network.named_parameters(), OptimConfig())
    )

    def epoch_of(source: FirstBatches) -> None:
        trainer = Trainer(
            training=source,
            validation=source,
            batch_size=options.batch_size,
            train=TrainConfig(epochs=10**6),
            task=PolicyValueTask(LossConfig()),
            optim=OptimConfig(learning_rate=1e-6),
            compute=resolve_compute("cpu"),
        )
        trainer.train_epoch(state, network, [])

    works = {"loader": lambda: epoch_of(real), "one batch": lambda: epoch_of(kept)}
    times = report.in_turns(works, options.rounds)
    share = statistics.median(
        one / full
        for one, full in zip(times["one batch"], times["loader"], strict=True)
    )
    rows = options.steps * options.batch_size
    report.show(
        ["same loop on", "positions/s"],
        [[name, f"{report.median_rate(rows, times[name]):,.0f}"] for name in works],
    )
    print(f"share of the step: {share:.1%} ({torch.get_num_threads()} threads)")
    report.finish(
        "step_share",
        {"share": share, "batch_size": options.batch_size, "rounds": options.rounds},
    )


if __name__ == "__main__":
    main()
