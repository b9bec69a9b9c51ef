"""What a run announces is what it does: checked at the end of every epoch.

The loader says how many batches an epoch has, the schedule and the progress lines how
many steps the run has. Each is known before the first step; here each is compared with
what was iterated.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from maou.errors import BugError

AHEAD = "optimiser steps beyond the schedule's"
VALIDATION = "batches of validation by the loader"


@dataclass(frozen=True)
class Announced:
    """What is said before an epoch.

    Attributes:
        batches: batches of a whole epoch, by the loader.
        accumulation: batches of an optimiser step.
        epochs: epochs of the run, by the schedule.
        total_steps: optimiser steps of the run, by the schedule.
        progress: the same by each of those who show progress.
    """

    batches: int
    accumulation: int
    epochs: int
    total_steps: int
    progress: tuple[int, ...] = ()

    def steps_at(self, epochs: int, batches: int) -> int:
        """Give the steps made after so many epochs and batches of the next one."""
        per_epoch = -(-self.batches // self.accumulation)
        return epochs * per_epoch + -(-batches // self.accumulation)


@dataclass
class Passed:
    """What was iterated, counted where it happened.

    Attributes:
        begun_at: batches of the epoch that were consumed before, by a run that this
            one goes on with.
        batches, steps: batches and optimiser steps since then.
    """

    begun_at: int
    batches: int = 0
    steps: int = 0


def require_agreement(epoch: int, said: Announced, passed: Passed) -> None:
    """Check an epoch that was just iterated.

    Args:
        epoch: its number, from 1.
        said: what was announced.
        passed: what was iterated.

    Raises:
        BugError: they differ.
    """
    batches = max(0, said.batches - passed.begun_at)
    _require(
        (
            (f"batches of epoch {epoch} by the loader", batches, passed.batches),
            (
                f"optimiser steps of epoch {epoch} by the schedule",
                -(-batches // said.accumulation),
                passed.steps,
            ),
            (
                "optimiser steps of the run by the schedule",
                said.total_steps,
                said.steps_at(said.epochs, 0),
            ),
            *(
                ("optimiser steps of the run by the progress", total, said.total_steps)
                for total in said.progress
            ),
        )
    )


def require_count(what: str, announced: int, iterated: int) -> None:
    """Check one number.

    Raises:
        BugError: they differ.
    """
    _require(((what, announced, iterated),))


def _require(counts: Iterable[tuple[str, int, int]]) -> None:
    wrong = [
        f"{what}: {announced:,} announced, {iterated:,} found"
        for what, announced, iterated in counts
        if announced != iterated
    ]
    if wrong:
        raise BugError("; ".join(wrong))
