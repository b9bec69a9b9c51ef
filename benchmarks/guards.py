"""What it costs to judge every step before its update.

Steps on one batch are made in turns with and without `judge`: a pass over the gradients
and one wait for the device a step. On the CPU processor time is compared, which other
processes disturb little; on a GPU wall-clock time, the device waited for at the end.

    python benchmarks/guards.py [--gpu DEVICE] [--batch-size N] [--blocks N] ...
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import torch

import report
from maou.data.kinds import HCPE_ROWS
from maou.losses.config import LossConfig
from maou.model.config import ModelConfig
from maou.model.network import build_network
from maou.optim.config import OptimConfig
from maou.optim.optimizer import build_optimizer
from maou.train.device import Compute, resolve_compute
from maou.train.generators import generator_states
from maou.train.guards import judge
from maou.train.state import TrainState
from maou.train.step import accumulate_gradients
from maou.train.task import PolicyValueTask

ROWS = Path(__file__).parent.parent / "tests" / "data" / "selfplay.hcpe"


def _now(compute: Compute) -> float:
    if compute.device.type == "cuda":
        torch.cuda.synchronize(compute.device)
        return time.perf_counter()
    return time.process_time()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gpu", default=None)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--blocks", type=int, default=10)
    parser.add_argument("--channels", type=int, default=192)
    options = parser.parse_args()
    compute = resolve_compute(options.gpu)
    rows = np.fromfile(ROWS, dtype=np.uint8).reshape(-1, 38)
    index = np.arange(options.batch_size, dtype=np.int64)
    batch = HCPE_ROWS.encode(rows, index, str)
    sizes = ModelConfig(resnet_blocks=options.blocks, resnet_channels=options.channels)
    network = build_network(sizes).to(compute.device)
    optimizer = build_optimizer(
        network.named_parameters(), OptimConfig(learning_rate=1e-6)
    )
    state = TrainState(network, optimizer, scaler=compute.scaler())
    task = PolicyValueTask(LossConfig())

    def steps(*, judged: bool) -> float:
        begin = _now(compute)
        for _ in range(options.steps):
            if judged:
                generator_states(compute.device)
            sums = accumulate_gradients(network, [batch], task, compute)
            if judged:
                assert judge(state, sums, None).update
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return _now(compute) - begin

    steps(judged=True)
    ratios = [steps(judged=True) / steps(judged=False) for _ in range(options.rounds)]
    cost = statistics.median(ratios) - 1
    print(
        f"{compute.describe()}, {compute.precision}, {options.blocks} x "
        f"{options.channels}, batch {options.batch_size}: judging costs {cost:+.2%} "
        f"of a step (ratios {min(ratios):.3f} to {max(ratios):.3f})"
    )
    report.finish("guards", {"cost": cost, "batch_size": options.batch_size})


if __name__ == "__main__":
    main()
