"""Checkpoints while training: at every interval, and at the end of every epoch."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maou.checkpoint.config import CheckpointConfig
from maou.checkpoint.save import save_checkpoint
from maou.train.hooks import Hook
from maou.train.state import TrainState
from maou.train.step import StepSums
from maou.train.task import Metrics


@dataclass
class CheckpointHook(Hook):
    """Saves to the run's folder.

    Attributes:
        run_folder: where checkpoints go.
        record: the run's settings.
        config: how often, and what to save.
        clock: gives seconds; another one in tests.
    """

    run_folder: Path
    record: Mapping[str, Any]
    config: CheckpointConfig
    clock: Callable[[], float] = time.perf_counter
    _since: float = 0.0
    _steps: int = 0
    _saved: tuple[int, Path] | None = None

    def on_start(self, state: TrainState, before: Metrics) -> None:
        """Begin to count."""
        self._restart()

    def on_resume(self, state: TrainState) -> None:
        """Begin to count."""
        self._restart()

    def on_step(self, state: TrainState, sums: StepSums, waited: float) -> None:
        """Save when it is time."""
        self._steps += 1
        interval = self.config.interval
        if interval.steps is not None:
            due = self._steps >= interval.steps
        else:
            assert interval.seconds is not None
            due = self.clock() - self._since >= interval.seconds
        if due:
            self.save(state, frozenset())

    def on_epoch(
        self, state: TrainState, metrics: Metrics, best: frozenset[str]
    ) -> None:
        """Save the epoch's end."""
        self.save(state, best)

    def save(self, state: TrainState, best: frozenset[str]) -> Path:
        """Save now, count anew, and return the checkpoint's folder.

        A state that was just saved is not saved again.
        """
        if self._saved is not None and self._saved[0] == state.step and not best:
            return self._saved[1]
        split = self.config.save_split_params
        saved = save_checkpoint(self.run_folder, state, self.record, best, split=split)
        self._restart()
        self._saved = (state.step, saved)
        return saved

    def _restart(self) -> None:
        self._since, self._steps = self.clock(), 0
