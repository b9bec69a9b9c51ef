"""TensorBoard: training curves every few seconds, validation every epoch."""

import threading
from collections.abc import Callable
from dataclasses import asdict
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from torch.nn import Parameter
from torch.utils.tensorboard.writer import SummaryWriter

from maou.logs.config import LogConfig
from maou.logs.report import Health
from maou.train.events import Event
from maou.train.hooks import Hook
from maou.train.state import TrainState
from maou.train.task import Metrics


class Histograms(Hook):
    """Writes histograms of parameters and gradients at the end of some epochs."""

    def __init__(
        self, board: "TensorBoard", config: LogConfig, steps_per_epoch: int
    ) -> None:
        """Choose the epochs and the parameters, and where to write."""
        self._board = board
        self._patterns = config.tensorboard_histogram_module or ("*",)
        self._every = config.tensorboard_histogram_frequency * steps_per_epoch

    def on_gradients(self, state: TrainState) -> None:
        """Write before the last update of an epoch, when gradients are at hand."""
        if self._every and (state.step + 1) % self._every == 0:
            for name, parameter in state.network.named_parameters():
                if any(fnmatchcase(name, pattern) for pattern in self._patterns):
                    self._board.histogram(name, parameter, state.step)


class TensorBoard(Hook):
    """Writes scalars; the horizontal axis is the optimiser step.

    What cannot be written is left out; training goes on.
    """

    def __init__(
        self,
        folder: Path,
        settings: str,
        state: TrainState,
        tell: Callable[[str], None],
    ) -> None:
        """Open an event file of the run and note its settings (JSON) as text.

        Values of what comes after `state` are of a run that was cut off there;
        TensorBoard no longer shows them.

        Args:
            folder: the run's logs.
            settings: the text.
            state: where training begins, or goes on.
            tell: called when values cannot be written.
        """
        self._folder, self._tell = folder, tell
        self._writer: SummaryWriter | None = None
        self._failed = False
        _leave_failures_to_the_caller()
        self._purge_step = _purge_step(folder, state)
        shown = settings.replace("<", "\\u003c")  # it is shown as Markdown
        text = f"```json\n{shown}\n```"
        self._write(lambda writer: writer.add_text("settings", text))

    def health(self, health: Health) -> None:
        """Write the training curves."""
        shown = (
            *("epoch", "learning_rate", "rows_per_second", "waiting"),
            *("loss_spikes", "skipped_loss_spikes", "overflows", "loss_scale"),
        )
        values = {name: getattr(health, name) for name in shown}
        for name, value in {**health.means, **values}.items():
            if value is not None:
                self._scalar(f"training/{name}", value, health.step)

    def histogram(self, name: str, parameter: Parameter, step: int) -> None:
        """Write a parameter's histogram, and its gradient's where it has one."""
        values = {"parameters": parameter.detach(), "gradients": parameter.grad}
        for kind, tensor in values.items():
            if tensor is not None:
                self._histogram(f"{kind}/{name}", tensor, step)

    def on_start(self, state: TrainState, before: Metrics) -> None:
        """Write the untrained network's metrics at step 0."""
        self._validation(before, state.step)

    def on_event(self, state: TrainState, event: Event) -> None:
        """Write an event's numbers."""
        for name, value in event.values.items():
            self._scalar(f"{event.kind}/{name}", value, event.step)

    def on_epoch(
        self, state: TrainState, metrics: Metrics, best: frozenset[str]
    ) -> None:
        """Write an epoch's validation metrics."""
        self._validation(metrics, state.step)
        self._write(SummaryWriter.flush)

    def on_end(self, state: TrainState) -> None:
        """Close the event file."""
        self._write(SummaryWriter.close)

    def _validation(self, metrics: Metrics, step: int) -> None:
        for name, value in asdict(metrics).items():
            if value is not None:
                self._scalar(f"validation/{name}", value, step)

    def _scalar(self, name: str, value: float, step: int) -> None:
        self._write(lambda writer: writer.add_scalar(name, value, step))

    def _histogram(self, name: str, values: torch.Tensor, step: int) -> None:
        self._write(lambda writer: writer.add_histogram(name, values, step))

    def _write(self, write: Callable[[SummaryWriter], None]) -> None:
        """Write something; after a failure, to a new event file."""
        try:
            if self._writer is None:
                folder, purge_step = str(self._folder), self._purge_step
                self._writer = SummaryWriter(folder, purge_step=purge_step)
                self._purge_step = None
            write(self._writer)
        except OSError as error:
            self._writer = None
            if not self._failed:
                self._tell(
                    f"Warning: cannot write TensorBoard events to {self._folder}: "
                    f"{error.strerror or error}; training goes on, values will be "
                    "missing there"
                )
            self._failed = True


def _purge_step(folder: Path, state: TrainState) -> int | None:
    """Give the step from which on TensorBoard is to forget what it has, if any."""
    if not any(folder.glob("events.out.tfevents.*")):
        return None
    if state.before is None:
        return 0
    # In mid-epoch, a validation at this very step is of what was cut off.
    return state.step if state.batches else state.step + 1


def _leave_failures_to_the_caller() -> None:
    """Keep the writer's thread from printing an error that its next call raises."""
    before = threading.excepthook

    def hook(failure: threading.ExceptHookArgs) -> None:
        of_writer = type(failure.thread).__name__ == "_AsyncWriterThread"
        if not (of_writer and issubclass(failure.exc_type, OSError)):
            before(failure)

    hook.__qualname__ = _leave_failures_to_the_caller.__qualname__
    if getattr(before, "__qualname__", "") != hook.__qualname__:
        threading.excepthook = hook
