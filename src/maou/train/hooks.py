"""What can be attached to the training loop."""

from maou.train.events import Event
from maou.train.state import TrainState
from maou.train.step import StepSums
from maou.train.task import Metrics


class Hook:
    """Called by the loop; a subclass overrides what it needs."""

    @property
    def announced_steps(self) -> int | None:
        """Optimiser steps of the run that it shows; None where it shows none."""
        return None

    def on_start(self, state: TrainState, before: Metrics) -> None:
        """Training is about to begin; `before` are the untrained network's metrics."""

    def on_resume(self, state: TrainState) -> None:
        """Training is about to go on where a checkpoint left it."""

    def on_gradients(self, state: TrainState) -> None:
        """The gradients of a step are complete and finite; the update follows."""

    def on_event(self, state: TrainState, event: Event) -> None:
        """Something happened at the step that is about to be told, or before any."""

    def on_step(self, state: TrainState, sums: StepSums, waited: float) -> None:
        """A step was made after waiting `waited` seconds for its batches."""

    def before_validation(self, state: TrainState) -> None:
        """The last step of an epoch was made; validation follows."""

    def on_epoch(
        self, state: TrainState, metrics: Metrics, best: frozenset[str]
    ) -> None:
        """An epoch was completed and validated; it is the best yet by `best`."""

    def on_end(self, state: TrainState) -> None:
        """Training is complete."""
