"""The state of a training run: what a checkpoint holds, in one place."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch.amp import GradScaler
from torch.optim import Optimizer

from maou.model.network import BackboneNetwork
from maou.train.numbers import Numbers
from maou.train.task import Criterion, Metrics


@dataclass(frozen=True)
class Best:
    """An epoch, its validation metrics, and the step at its end."""

    epoch: int
    metrics: Metrics
    step: int


@dataclass
class TrainState:
    """Everything that changes while training.

    Attributes:
        network: the network that is trained.
        optimizer: its optimiser, with its running means.
        epoch: number of completed epochs (offset by --start-epoch).
        step: optimiser steps made.
        batches: batches of the epoch in progress that those steps consumed.
        ahead: steps beyond those of `epoch` and `batches`, if the run went on with
            data of another size.
        rows: training rows consumed by those steps.
        before: metrics of the untrained network; None before they are taken.
        best: the best epoch so far by each of the task's criteria; empty before any.
        last: the latest validation metrics.
        scaler: scales the loss of a float16 forward pass; None without one.
        micro_batch: rows that are computed at a time, where memory ran out; None for
            whole batches.
        numbers: what is kept of the losses.
    """

    network: BackboneNetwork
    optimizer: Optimizer
    epoch: int = 0
    step: int = 0
    batches: int = 0
    ahead: int = 0
    rows: int = 0
    before: Metrics | None = None
    best: dict[str, Best] = field(default_factory=dict)
    last: Metrics | None = None
    scaler: GradScaler | None = None
    micro_batch: int | None = None
    numbers: Numbers = field(default_factory=Numbers)

    def record_validation(
        self, metrics: Metrics, best_by: Mapping[str, Criterion]
    ) -> frozenset[str]:
        """Note an epoch's validation metrics; tell by what they are the best yet."""
        self.last = metrics
        better = frozenset(
            by
            for by, criterion in best_by.items()
            if by not in self.best or criterion.prefers(metrics, self.best[by].metrics)
        )
        self.best.update({by: Best(self.epoch, metrics, self.step) for by in better})
        return better
