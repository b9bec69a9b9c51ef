"""Checkpoints while training: the last and the best, after every epoch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maou.checkpoint.save import save_checkpoint
from maou.train.hooks import Hook
from maou.train.state import TrainState
from maou.train.task import Metrics


@dataclass(frozen=True)
class CheckpointHook(Hook):
    """Saves to the run's folder.

    Attributes:
        run_folder: where checkpoints go.
        record: the run's settings.
        split: whether to write a file for each part of the network too.
    """

    run_folder: Path
    record: Mapping[str, Any]
    split: bool = False

    def on_epoch(
        self, state: TrainState, metrics: Metrics, best: frozenset[str]
    ) -> None:
        """Save the epoch's end."""
        save_checkpoint(self.run_folder, state, self.record, best, split=self.split)
