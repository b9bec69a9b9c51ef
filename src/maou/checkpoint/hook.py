"""Checkpoints while training: at every interval, and at the end of every epoch."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from maou.checkpoint.config import CheckpointConfig
from maou.checkpoint.folders import LAST, checkpoint_name
from maou.checkpoint.resume import resume_command, run_folder_of
from maou.checkpoint.save import save_checkpoint
from maou.errors import TrainingError
from maou.train.guards import require_finite_weights
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
        saved: called with each checkpoint's folder when it is complete.
        clock: gives seconds; another one in tests.
    """

    run_folder: Path
    record: Mapping[str, Any]
    config: CheckpointConfig
    saved: Callable[[Path], None] = lambda _: None
    clock: Callable[[], float] = time.perf_counter
    _since: float = 0.0
    _steps: int = 0
    _saved: Path | None = None

    def on_start(self, state: TrainState, before: Metrics) -> None:
        """Begin to count."""
        self._restart()

    def on_resume(self, state: TrainState) -> None:
        """Begin to count; what was resumed is saved."""
        self._restart()
        folder = self.run_folder / checkpoint_name(state.epoch, state.step)
        self._saved = folder if folder.is_dir() else None

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

        Raises:
            TrainingError: the disk is full or failing, or the weights are not finite.
        """
        name = checkpoint_name(state.epoch, state.step)
        if self._saved is not None and self._saved.name == name:
            return self._saved
        require_finite_weights(state)
        config = self.config
        try:
            self._saved = save_checkpoint(
                self.run_folder,
                state,
                self.record,
                best,
                split=config.save_split_params,
                keep=config.kept,
            )
        except (OSError, SafetensorError) as error:
            raise TrainingError(self._failure(name, error)) from error
        self._restart()
        self.saved(self._saved)
        return self._saved

    def _failure(self, name: str, error: Exception) -> str:
        """Say what could not be written, what there is, and how to go on."""
        reason = getattr(error, "strerror", None) or str(error)
        last = self.run_folder / LAST
        kept = f"The one before, {last.resolve()}, is whole. " if last.exists() else ""
        return (
            f"cannot write the checkpoint {self.run_folder / name}: {reason}. {kept}"
            "Make room on that disk, or mend it, and go on with\n"
            f"  {resume_command(run_folder_of(self.run_folder / name))}"
        )

    def _restart(self) -> None:
        self._since, self._steps = self.clock(), 0
