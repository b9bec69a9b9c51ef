"""What a run tells whoever watches it: the plan, its health, and the result.

Plain facts without a layout; the command line lays them out.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from maou.settings import ChangedSetting
from maou.train.events import Event
from maou.train.numbers import Numbers
from maou.train.state import Best
from maou.train.task import Metrics


@dataclass(frozen=True)
class Plan:
    """What is about to be done, told before the first step.

    Attributes:
        title: the stage, or empty where there is only one way to train.
        facts: texts by name, in the order in which to show them.
        changed: settings that differ from their defaults.
        warnings: what the user should know first.
    """

    title: str
    facts: dict[str, str]
    changed: tuple[ChangedSetting, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Health:
    """How training went since the last such line.

    Attributes:
        epoch, step, total_steps: where the run is; steps are optimiser steps.
        means: the task's columns by name, as means over the rows since then.
        learning_rate: of the latest step.
        rows_per_second: training rows per second of wall-clock time.
        waiting: share of that time spent waiting for data, 0 to 1.
        eta: seconds that the remaining steps will take at this speed.
        loss_spikes, skipped_loss_spikes: steps whose loss stood out, since the run
            began, and those of them that were not applied.
        overflows: steps that were not applied since their fp16 gradients overflowed.
        loss_scale: what the loss is multiplied by; None without fp16.
    """

    epoch: int
    step: int
    total_steps: int
    means: dict[str, float]
    learning_rate: float
    rows_per_second: float
    waiting: float
    eta: float
    loss_spikes: int = 0
    skipped_loss_spikes: int = 0
    overflows: int = 0
    loss_scale: float | None = None


@dataclass(frozen=True)
class Summary:
    """What came out of a run, or of one stage of it.

    Attributes:
        title: the stage, or empty where there is only one way to train.
        measured_on: the rows that the metrics are means over.
        before: metrics of the untrained network.
        best: the best epoch by each of the task's criteria, the deciding one first.
        epochs: number of the last epoch.
        checkpoint, tensorboard: where the results are.
        onnx: the exported model, for policy and value.
        numbers: counts of loss spikes and overflows.
    """

    title: str
    measured_on: str
    before: Metrics
    best: dict[str, Best]
    epochs: int
    checkpoint: Path
    tensorboard: Path
    onnx: "Exported | None" = None
    numbers: Numbers = field(default_factory=Numbers)


@dataclass(frozen=True)
class Exported:
    """An exported model, and its largest difference from the network."""

    path: Path
    difference: float


@dataclass(frozen=True)
class DryRun:
    """What one real batch did in a dry run.

    Attributes:
        rows: positions in it.
        total_loss: mean loss, of the untrained network or the checkpoint's.
        gradient_norm: length of the whole gradient.
        seconds: time for the batch forward and back.
    """

    rows: int
    total_loss: float
    gradient_norm: float
    seconds: float


class Reporter(Protocol):
    """Shows a run to its user."""

    def note(self, text: str) -> None:
        """Show a line about what is being done."""

    def warn(self, text: str) -> None:
        """Show a warning."""

    def result(self, text: str) -> None:
        """Show a line of the result."""

    def plan(self, plan: Plan) -> None:
        """Show what is about to be done."""

    def health(self, health: Health) -> None:
        """Show how training goes."""

    def event(self, event: Event) -> None:
        """Warn of something that happened."""

    def epoch(self, number: int, metrics: Metrics, best: frozenset[str]) -> None:
        """Show an epoch's validation (number 0: before training)."""

    def dry_run(self, result: DryRun) -> None:
        """Show what a dry run found."""

    def finished(self, summary: Summary) -> None:
        """Show the result."""
