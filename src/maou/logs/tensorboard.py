"""TensorBoard: training curves every few seconds, validation every epoch."""

from dataclasses import asdict
from fnmatch import fnmatchcase
from pathlib import Path

from torch.nn import Parameter
from torch.utils.tensorboard.writer import SummaryWriter

from maou.logs.config import LogConfig
from maou.logs.report import Health
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
    """Writes scalars; the horizontal axis is the optimiser step."""

    def __init__(self, folder: Path, settings: str, step: int = 0) -> None:
        """Open an event file of the run and note its settings (JSON) as text.

        Values from after `step` are of a run that was cut off there; TensorBoard no
        longer shows them.
        """
        purge_step = step + 1 if step else None
        self._writer = SummaryWriter(str(folder), purge_step=purge_step)
        self._writer.add_text("settings", f"```json\n{settings}\n```")

    def health(self, health: Health) -> None:
        """Write the training curves."""
        shown = ("epoch", "learning_rate", "rows_per_second", "waiting")
        values = {name: getattr(health, name) for name in shown}
        for name, value in {**health.means, **values}.items():
            self._writer.add_scalar(f"training/{name}", value, health.step)

    def histogram(self, name: str, parameter: Parameter, step: int) -> None:
        """Write a parameter's histogram, and its gradient's where it has one."""
        self._writer.add_histogram(f"parameters/{name}", parameter.detach(), step)
        if parameter.grad is not None:
            self._writer.add_histogram(f"gradients/{name}", parameter.grad, step)

    def on_start(self, state: TrainState, before: Metrics) -> None:
        """Write the untrained network's metrics at step 0."""
        self._validation(before, state.step)

    def on_epoch(
        self, state: TrainState, metrics: Metrics, best: frozenset[str]
    ) -> None:
        """Write an epoch's validation metrics."""
        self._validation(metrics, state.step)
        self._writer.flush()

    def on_end(self, state: TrainState) -> None:
        """Close the event file."""
        self._writer.close()

    def _validation(self, metrics: Metrics, step: int) -> None:
        for name, value in asdict(metrics).items():
            if value is not None:
                self._writer.add_scalar(f"validation/{name}", value, step)
