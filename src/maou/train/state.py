"""The state of a training run: what a checkpoint holds, in one place."""

from dataclasses import dataclass, field

from torch.optim import Optimizer

from maou.model.network import Network
from maou.train.metrics import PolicyValueMetrics

BEST_BY = {"total": "total_loss", "policy": "policy_loss", "value": "value_bce"}
"""What an epoch can be the best by, and the validation metric that decides."""


@dataclass(frozen=True)
class Best:
    """An epoch and its validation metrics."""

    epoch: int
    metrics: PolicyValueMetrics


@dataclass
class TrainState:
    """Everything that changes while training.

    Attributes:
        network: the network that is trained.
        optimizer: its optimiser, with its running means.
        epoch: number of completed epochs (offset by --start-epoch).
        step: optimiser steps made.
        rows: training rows consumed by those steps.
        best: the best epoch so far by each key of `BEST_BY`; empty before any. The
            heads have their own, since the value head overfits before the policy.
        last: the latest validation metrics.
    """

    network: Network
    optimizer: Optimizer
    epoch: int = 0
    step: int = 0
    rows: int = 0
    best: dict[str, Best] = field(default_factory=dict)
    last: PolicyValueMetrics | None = None

    def record_validation(self, metrics: PolicyValueMetrics) -> frozenset[str]:
        """Note an epoch's validation metrics; tell by what they are the best yet."""
        self.last = metrics
        better = frozenset(
            by
            for by, name in BEST_BY.items()
            if by not in self.best
            or getattr(metrics, name) < getattr(self.best[by].metrics, name)
        )
        self.best.update({by: Best(self.epoch, metrics) for by in better})
        return better
