"""TensorBoard: training curves every few seconds, validation every epoch."""

from dataclasses import asdict
from pathlib import Path

from torch.utils.tensorboard.writer import SummaryWriter

from maou.logs.report import Health
from maou.train.hooks import Hook
from maou.train.metrics import PolicyValueMetrics
from maou.train.state import TrainState


class TensorBoard(Hook):
    """Writes scalars; the horizontal axis is the optimiser step."""

    def __init__(self, folder: Path, settings: str) -> None:
        """Open the run's event file and note its settings (JSON) as text."""
        self._writer = SummaryWriter(str(folder))
        self._writer.add_text("settings", f"```json\n{settings}\n```")

    def health(self, health: Health) -> None:
        """Write the training curves."""
        for name, value in asdict(health).items():
            if name not in {"step", "total_steps", "eta"}:
                self._writer.add_scalar(f"training/{name}", value, health.step)

    def on_start(self, state: TrainState, before: PolicyValueMetrics) -> None:
        """Write the untrained network's metrics at step 0."""
        self._validation(before, state.step)

    def on_epoch(
        self, state: TrainState, metrics: PolicyValueMetrics, *, is_best: bool
    ) -> None:
        """Write an epoch's validation metrics."""
        self._validation(metrics, state.step)
        self._writer.flush()

    def on_end(self, state: TrainState) -> None:
        """Close the event file."""
        self._writer.close()

    def _validation(self, metrics: PolicyValueMetrics, step: int) -> None:
        for name, value in asdict(metrics).items():
            if value is not None:
                self._writer.add_scalar(f"validation/{name}", value, step)
