"""The training loop."""

import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from maou.data.batch import PositionBatch
from maou.data.loader import BatchSource
from maou.model.network import BackboneNetwork
from maou.optim.config import OptimConfig
from maou.optim.optimizer import set_learning_rate
from maou.optim.schedule import learning_rate_at
from maou.train.config import TrainConfig
from maou.train.device import Compute
from maou.train.hooks import Hook
from maou.train.interrupts import Interrupts
from maou.train.laps import NO_LAPS, Laps
from maou.train.state import TrainState
from maou.train.step import StepSums, accumulate_gradients
from maou.train.task import Metrics, Task

BEFORE_ROWS = 131_072
"""At most so many validation rows are measured before training."""


@dataclass(frozen=True)
class Goal:
    """A validation metric and the value at which training is complete."""

    metric: str
    threshold: float

    def value(self, metrics: Metrics) -> float:
        """Give the metric."""
        return float(getattr(metrics, self.metric))

    def is_reached(self, metrics: Metrics) -> bool:
        """Tell whether training may stop."""
        return self.value(metrics) >= self.threshold


@dataclass(frozen=True)
class Trainer:
    """What a run needs besides its state.

    Attributes:
        training: batches of training rows, in an order of each epoch's own.
        validation: batches of the held-out rows.
        batch_size: rows of a full batch.
        task: what is minimised and measured.
        train, optim: settings.
        compute: where to compute.
        goal: ends training when an epoch's validation reaches it.
        laps: told of the phases of each step.
        interrupts: what signals do; none unless somebody listens.
    """

    training: BatchSource
    validation: BatchSource
    batch_size: int
    task: Task
    train: TrainConfig
    optim: OptimConfig
    compute: Compute
    goal: Goal | None = None
    laps: Laps = NO_LAPS
    interrupts: Interrupts = field(default_factory=Interrupts)

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of an epoch; the last may have fewer rows."""
        return -(-len(self.training) // self.train.gradient_accumulation_steps)

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the run."""
        return self.steps_per_epoch * self.train.epochs

    def fit(self, state: TrainState, hooks: Sequence[Hook]) -> None:
        """Train for all epochs, or until the goal is reached; begin, or go on.

        Raises:
            DataError: a row is damaged.
            TrainingError: a hook found the run beyond hope.
            Interrupted: a signal came; the state is that of a whole step, and
                training can go on from it.
        """
        forward = self.forward_of(state.network)
        if state.before is None:
            state.epoch = self.train.start_epoch
            at_most = BEFORE_ROWS
            state.before = self.validate(state.network, forward, at_most=at_most)
            for hook in hooks:
                hook.on_start(state, state.before)
        else:
            for hook in hooks:
                hook.on_resume(state)
        while not self.is_complete(state):
            self.train_epoch(state, forward, hooks)
            for hook in hooks:
                hook.before_validation(state)
            metrics = self.validate(state.network, forward)
            with self.interrupts.deferred():
                state.epoch += 1
                state.batches = 0
                best = state.record_validation(metrics, self.task.best_by)
                for hook in hooks:
                    hook.on_epoch(state, metrics, best)
        for hook in hooks:
            hook.on_end(state)

    def is_complete(self, state: TrainState) -> bool:
        """Tell whether all epochs are made, the goal is reached, or patience is out."""
        if state.epoch >= self.train.start_epoch + self.train.epochs:
            return True
        if state.last is None:
            return False
        if self.goal is not None and self.goal.is_reached(state.last):
            return True
        patience = self.train.early_stopping_patience
        if patience is None:
            return False
        best = state.best.get(self.train.early_stopping_metric)
        return best is not None and state.epoch - best.epoch >= patience

    def train_epoch(
        self, state: TrainState, forward: nn.Module, hooks: Sequence[Hook]
    ) -> None:
        """Make the optimiser steps that are left of the epoch in progress."""
        state.network.train()
        groups = _groups(
            self.training.batches(state.epoch, state.batches),
            self.train.gradient_accumulation_steps,
        )
        for batches, waited in _timed(groups):
            self.laps.lap("data")
            with self.interrupts.deferred():
                sums = self._make_step(state, forward, batches, hooks)
                for hook in hooks:
                    hook.on_step(state, sums, waited)

    def _make_step(
        self,
        state: TrainState,
        forward: nn.Module,
        batches: Sequence[PositionBatch],
        hooks: Sequence[Hook],
    ) -> StepSums:
        rate = learning_rate_at(state.step, self.total_steps, self.optim)
        set_learning_rate(state.optimizer, rate)
        with torch.autograd.set_detect_anomaly(self.train.detect_anomaly):
            sums = accumulate_gradients(
                forward, batches, self.task, self.compute, self.laps
            )
        for hook in hooks:
            hook.on_gradients(state)
        state.optimizer.step()
        state.optimizer.zero_grad(set_to_none=True)
        self.laps.lap("optimizer")
        state.step += 1
        state.batches += len(batches)
        state.rows += sums.rows
        return sums

    @torch.no_grad()
    def validate(
        self, network: BackboneNetwork, forward: nn.Module, at_most: int | None = None
    ) -> Metrics:
        """Measure the network on the validation rows (the first `at_most` of them)."""
        network.eval()
        measurement = self.task.measurement(self.compute.device)
        rows = 0
        for batch_on_cpu in self.validation.batches(0):
            batch = batch_on_cpu.to(self.compute.device)
            with self.compute.forward_context():
                outputs = forward(batch.board_BS, batch.hand_BH)
            measurement.add(outputs, batch)
            rows += len(batch)
            if at_most is not None and rows >= at_most:
                break
        return measurement.result()

    def forward_of(self, network: BackboneNetwork) -> nn.Module:
        """Give the network as it is to be called: compiled where asked for."""
        if not self.train.compilation:
            return network
        return CompiledForward(network, self.batch_size)


class CompiledForward(nn.Module):
    """Runs full batches compiled and the last, smaller one as it is.

    So the compiled graph sees one shape, and a run compiles once for training and once
    for validation.
    """

    def __init__(
        self, network: BackboneNetwork, batch_size: int, backend: str = "inductor"
    ) -> None:
        """Compile for one batch size; the work is done at the first call."""
        super().__init__()
        self._network = network
        self._compiled = torch.compile(network, dynamic=False, backend=backend)
        self._batch_size = batch_size

    def forward(self, board_BS: torch.Tensor, hand_BH: torch.Tensor) -> object:
        """Judge positions, as `Network.forward` does."""
        full = board_BS.shape[0] == self._batch_size
        return (self._compiled if full else self._network)(board_BS, hand_BH)


def _groups(
    batches: Iterable[PositionBatch], size: int
) -> Iterator[tuple[PositionBatch, ...]]:
    """Take batches `size` at a time; the last group may be smaller."""
    iterator = iter(batches)
    while group := tuple(itertools.islice(iterator, size)):
        yield group


def _timed(
    groups: Iterator[tuple[PositionBatch, ...]],
) -> Iterator[tuple[tuple[PositionBatch, ...], float]]:
    """Give each group with the seconds spent waiting for it."""
    while True:
        begin = time.perf_counter()
        group = next(groups, None)
        if group is None:
            return
        yield group, time.perf_counter() - begin
