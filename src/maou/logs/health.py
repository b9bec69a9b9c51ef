"""The health of a run: measured each step, told every few seconds.

Losses stay on the device between two lines, so that watching does not slow a GPU down.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from maou.logs.report import Health
from maou.train.hooks import Hook
from maou.train.state import TrainState
from maou.train.step import StepSums
from maou.train.task import Metrics


@dataclass
class HealthHook(Hook):
    """Tells `listeners` how training goes.

    Attributes:
        columns: names of what the steps sum, `total_loss` first.
        total_steps: optimiser steps of the run.
        interval: seconds between two lines.
        listeners: called with each `Health`.
        clock: gives seconds; another one in tests.
    """

    columns: tuple[str, ...]
    total_steps: int
    interval: float
    listeners: tuple[Callable[[Health], None], ...]
    clock: Callable[[], float] = time.perf_counter
    _since: float = 0.0
    _waited: float = 0.0
    _rows: int = 0
    _steps: int = 0
    _sums: torch.Tensor | None = field(default=None, repr=False)

    @property
    def announced_steps(self) -> int | None:
        """Optimiser steps of the run, that its lines are shares of."""
        return self.total_steps

    def on_start(self, state: TrainState, before: Metrics) -> None:
        """Begin to measure."""
        self._restart()

    def on_resume(self, state: TrainState) -> None:
        """Begin to measure."""
        self._restart()

    def on_step(self, state: TrainState, sums: StepSums, waited: float) -> None:
        """Count a step; tell when it is time."""
        held = self._sums
        self._sums = sums.sums if held is None else held + sums.sums
        self._waited += waited
        self._rows += sums.rows
        self._steps += 1
        if self.clock() - self._since >= self.interval:
            self._tell(state)

    def on_epoch(
        self, state: TrainState, metrics: Metrics, best: frozenset[str]
    ) -> None:
        """Leave validation out of the measurement."""
        self._restart()

    def before_validation(self, state: TrainState) -> None:
        """Tell about the steps since the last line, however few."""
        if self._steps:
            self._tell(state)

    def _tell(self, state: TrainState) -> None:
        assert self._sums is not None
        values = (self._sums / self._rows).tolist()
        means = dict(zip(self.columns, values, strict=True))
        seconds = max(self.clock() - self._since, 1e-9)
        health = Health(
            epoch=state.epoch + 1,
            step=state.step,
            total_steps=self.total_steps,
            means=means,
            learning_rate=state.optimizer.param_groups[0]["lr"],
            rows_per_second=self._rows / seconds,
            waiting=min(1.0, self._waited / seconds),
            eta=(self.total_steps - state.step) * seconds / self._steps,
            loss_spikes=state.numbers.spikes,
            skipped_loss_spikes=state.numbers.skipped_spikes,
            overflows=state.numbers.overflows,
            loss_scale=None if state.scaler is None else state.scaler.get_scale(),
        )
        for listener in self.listeners:
            listener(health)
        self._restart()

    def _restart(self) -> None:
        self._since = self.clock()
        self._waited, self._rows, self._steps, self._sums = 0.0, 0, 0, None
