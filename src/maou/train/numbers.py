"""What a run keeps of its losses, to tell a spike from an ordinary loss.

A spike is measured against the median of the latest losses, which a few spikes among
them do not move. Every finite loss enters, spike or not, so that a run whose losses
stay higher gets used to them.
"""

from dataclasses import dataclass, field
from statistics import median

WINDOW = 100
"""The median is that of so many latest losses."""

FEWEST = 20
"""Fewer losses than these tell nothing about the next one."""

REPORTED_FACTOR = 2.0
"""A loss above so many medians is reported."""


@dataclass
class Numbers:
    """Part of a run's state.

    Attributes:
        losses: mean losses of the latest steps, oldest first, at most `WINDOW`.
        spikes: steps with a loss spike so far.
        skipped_spikes: those of them that were not applied.
        overflows: steps that were not applied since scaled gradients overflowed.
    """

    losses: list[float] = field(default_factory=list)
    spikes: int = 0
    skipped_spikes: int = 0
    overflows: int = 0

    @property
    def skipped(self) -> int:
        """Steps whose update was not applied."""
        return self.skipped_spikes + self.overflows

    def add(self, loss: float) -> float | None:
        """Note a step's loss.

        Returns:
            The loss as a multiple of the median of those before; None while there
            are too few of them, or where the median is 0.
        """
        middle = median(self.losses) if len(self.losses) >= FEWEST else 0.0
        self.losses = [*self.losses[-WINDOW + 1 :], loss]
        return loss / middle if middle > 0 else None
