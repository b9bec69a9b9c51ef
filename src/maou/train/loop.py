"""The training loop."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from maou.data.loader import BatchSource
from maou.errors import CheckpointError
from maou.model.network import BackboneNetwork
from maou.optim.config import OptimConfig
from maou.optim.optimizer import set_learning_rate
from maou.optim.schedule import learning_rate_at
from maou.train.agreement import (
    AHEAD,
    VALIDATION,
    Announced,
    Passed,
    require_agreement,
    require_count,
)
from maou.train.compiled import CompiledForward
from maou.train.config import TrainConfig
from maou.train.device import Compute
from maou.train.events import Event
from maou.train.generators import generator_states, restore_generators
from maou.train.groups import Group, grouped, timed
from maou.train.guards import Attempt, BrokenStepError, examine, judge
from maou.train.hooks import Hook
from maou.train.interrupts import Interrupts
from maou.train.laps import NO_LAPS, Laps
from maou.train.memory import Parts
from maou.train.state import TrainState
from maou.train.step import StepSums, accumulate_gradients
from maou.train.task import Metrics, Task
from maou.train.validation import measure, require_finite

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
        halve: whether to go on with smaller parts of a batch where memory runs out.
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
    halve: bool = True

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
            BrokenStepError: a loss or gradient is not finite; the state is the one
                before that step.
            TrainingError: memory does not suffice, or validation is not finite.
            Interrupted: a signal came; the state is that of a whole step, and
                training can go on from it.
        """
        forward = self.forward_of(state.network)
        if state.before is None:
            state.epoch = self.train.start_epoch
            state.before = self._validate(state, forward, hooks, BEFORE_ROWS)
            for hook in hooks:
                hook.on_start(state, state.before)
        else:
            for hook in hooks:
                hook.on_resume(state)
        while not self.is_complete(state):
            passed = self.train_epoch(state, forward, hooks)
            require_agreement(state.epoch + 1, self.announced(hooks), passed)
            require_count(AHEAD, state.ahead, self.steps_ahead(state))
            for hook in hooks:
                hook.before_validation(state)
            metrics = self._validate(state, forward, hooks)
            batches = -(-metrics.rows // self.batch_size)
            require_count(VALIDATION, len(self.validation), batches)
            require_finite(metrics, state.step)
            with self.interrupts.deferred():
                state.epoch += 1
                state.batches = 0
                best = state.record_validation(metrics, self.task.best_by)
                for hook in hooks:
                    hook.on_epoch(state, metrics, best)
        for hook in hooks:
            hook.on_end(state)

    def announced(self, hooks: Sequence[Hook] = ()) -> Announced:
        """Tell what the loader, the schedule and the progress lines say of the run."""
        shown = (hook.announced_steps for hook in hooks)
        return Announced(
            batches=len(self.training),
            accumulation=self.train.gradient_accumulation_steps,
            epochs=self.train.epochs,
            total_steps=self.total_steps,
            progress=tuple(steps for steps in shown if steps is not None),
        )

    def steps_ahead(self, state: TrainState) -> int:
        """Count the steps beyond those of a state's epochs and batches.

        There are none, unless a run went on with data of another size.
        """
        epochs = state.epoch - self.train.start_epoch
        return state.step - self.announced().steps_at(epochs, state.batches)

    def take_place(self, state: TrainState, *, same_data: bool) -> None:
        """Check the place of a state that was restored, or find it in other data.

        There, the epoch in progress goes on with a whole step; it is over where it has
        no more batches than were made.

        Raises:
            CheckpointError: with the same data it is at another step than its epochs
                and batches make.
        """
        an_epoch, a_step = len(self.training), self.train.gradient_accumulation_steps
        if not same_data:
            state.batches = min(an_epoch, -(-state.batches // a_step) * a_step)
            state.ahead = self.steps_ahead(state)
        elif state.batches > an_epoch or state.ahead != self.steps_ahead(state):
            raise CheckpointError(
                f"step {state.step:,} after {state.epoch:,} epochs and "
                f"{state.batches:,} batches is no place in this run, whose epochs have "
                f"{an_epoch:,} batches and {self.steps_per_epoch:,} steps; go on from "
                "another checkpoint"
            )

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
    ) -> Passed:
        """Make the optimiser steps that are left of the epoch in progress.

        Returns:
            What was iterated.
        """
        state.network.train()
        passed = Passed(begun_at=state.batches)
        groups = grouped(
            self.training.batches(state.epoch, state.batches),
            self.train.gradient_accumulation_steps,
        )
        for batches, waited in timed(groups):
            self.laps.lap("data")
            passed.batches += len(batches)
            passed.steps += 1
            with self.interrupts.deferred():
                sums = self._make_step(state, forward, batches, hooks)
                for hook in hooks:
                    hook.on_step(state, sums, waited)
        return passed

    def _make_step(
        self,
        state: TrainState,
        forward: nn.Module,
        batches: Group,
        hooks: Sequence[Hook],
    ) -> StepSums:
        """Make an optimiser step; its update is left out where its numbers say so."""
        rate = learning_rate_at(state.step, self.total_steps, self.optim)
        set_learning_rate(state.optimizer, rate)
        attempt = Attempt(batches, generator_states(self.compute.device))
        sums = self._add_gradients(state, forward, attempt, hooks)
        verdict = judge(state, sums, self.train.skip_loss_spikes)
        if not verdict.finite:
            found = examine(state, self.task.columns, sums)
            raise BrokenStepError(state.step + 1, attempt, found)
        if verdict.update:
            for hook in hooks:
                hook.on_gradients(state)
            state.optimizer.step()
        state.optimizer.zero_grad(set_to_none=True)
        self.laps.lap("optimizer")
        state.step += 1
        state.batches += len(batches)
        state.rows += sums.rows
        for event in verdict.events:
            _teller(hooks, state)(event)
        return sums

    def _add_gradients(
        self,
        state: TrainState,
        forward: nn.Module,
        attempt: Attempt,
        hooks: Sequence[Hook],
    ) -> StepSums:
        """Compute a step's gradients, in parts that fit in memory."""

        def add() -> StepSums:
            parts = self._fitting.of(attempt.batches, state, forward)
            with torch.autograd.set_detect_anomaly(self.train.detect_anomaly):
                return accumulate_gradients(
                    forward, parts, self.task, self.compute, self.laps, state.scaler
                )

        def undo() -> None:
            state.optimizer.zero_grad(set_to_none=True)
            restore_generators(attempt.generators)

        try:
            return self._fitting.attempt(add, state, _teller(hooks, state), undo)
        except RuntimeError as error:
            if "returned nan values" not in str(error):
                raise
            operation = str(error).splitlines()[0]
            found = examine(state, self.task.columns, None, operation)
        raise BrokenStepError(state.step + 1, attempt, found)

    def _validate(
        self,
        state: TrainState,
        forward: nn.Module,
        hooks: Sequence[Hook],
        at_most: int | None = None,
    ) -> Metrics:
        """Measure, in parts that fit in memory."""
        state.network.eval()

        def attempt() -> Metrics:
            batches = self._fitting.of(self.validation.batches(0), state, forward)
            return measure(forward, batches, self.task, self.compute, at_most)

        return self._fitting.attempt(attempt, state, _teller(hooks, state))

    def validate(
        self, network: BackboneNetwork, forward: nn.Module, at_most: int | None = None
    ) -> Metrics:
        """Measure the network on the validation rows (the first `at_most` of them)."""
        network.eval()
        batches = self.validation.batches(0)
        return measure(forward, batches, self.task, self.compute, at_most)

    @property
    def _fitting(self) -> Parts:
        return Parts(self.batch_size, self.halve)

    def forward_of(self, network: BackboneNetwork) -> nn.Module:
        """Give the network as it is to be called: compiled where asked for."""
        if not self.train.compilation:
            return network
        return CompiledForward(network, self.batch_size)


def _teller(hooks: Sequence[Hook], state: TrainState) -> Callable[[Event], None]:
    def tell(event: Event) -> None:
        for hook in hooks:
            hook.on_event(state, event)

    return tell
