"""The state of a training run: what a checkpoint holds, in one place."""

from dataclasses import dataclass

from torch.optim import Optimizer

from maou.model.network import Network
from maou.train.metrics import PolicyValueMetrics


@dataclass
class TrainState:
    """Everything that changes while training.

    Attributes:
        network: the network that is trained.
        optimizer: its optimiser, with its running means.
        epoch: number of completed epochs (offset by --start-epoch).
        step: optimiser steps made.
        rows: training rows consumed by those steps.
        best_epoch: epoch with the lowest validation loss so far; 0 before any.
        best: that epoch's validation metrics.
        last: the latest validation metrics.
    """

    network: Network
    optimizer: Optimizer
    epoch: int = 0
    step: int = 0
    rows: int = 0
    best_epoch: int = 0
    best: PolicyValueMetrics | None = None
    last: PolicyValueMetrics | None = None

    def record_validation(self, metrics: PolicyValueMetrics) -> bool:
        """Note an epoch's validation metrics; tell whether they are the best yet."""
        self.last = metrics
        if self.best is None or metrics.total_loss < self.best.total_loss:
            self.best, self.best_epoch = metrics, self.epoch
            return True
        return False
