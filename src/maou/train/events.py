"""What happens to a run besides its steps, and is told to whoever watches it."""

from collections.abc import Mapping
from dataclasses import dataclass

LOSS_SPIKE, OVERFLOW, OUT_OF_MEMORY = "loss_spike", "overflow", "out_of_memory"


@dataclass(frozen=True)
class Event:
    """One occurrence.

    Attributes:
        kind: one of the above.
        step: number of the optimiser step, from 1; 0 before the first.
        text: a sentence for people.
        values: numbers for scripts, by name.
    """

    kind: str
    step: int
    text: str
    values: Mapping[str, float]
