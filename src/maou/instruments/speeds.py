"""What `maou utility benchmark-training` measured, and its JSON."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Speed:
    """How fast a run trains with one batch size.

    Attributes:
        warm_up, steps: optimiser steps before and during the measurement.
        shortened: whether an epoch has fewer than asked for.
        rows_per_second: training positions a second.
        step_seconds: time of an optimiser step, of all its batches.
        phase_seconds: by phase, a step. On a GPU they may sum to more than a step, as
            they are measured without overlap.
        first_batch: seconds to the first batch of the run.
        training, validation: seconds of one epoch, estimated.
        peak_memory: bytes.
        memory_kind: what these are bytes of.
        trace: the profiler's file.
    """

    warm_up: int
    steps: int
    shortened: bool
    rows_per_second: float
    step_seconds: float
    phase_seconds: dict[str, float]
    first_batch: float
    training: float
    validation: float
    peak_memory: int
    memory_kind: str
    trace: Path | None

    @property
    def epoch(self) -> float:
        """Seconds of one epoch, estimated."""
        return self.training + self.validation


@dataclass(frozen=True)
class Case:
    """A batch size, the flag that sets it, and what came of it.

    Attributes:
        speed: None where the device ran out of memory.
    """

    batch_size: int
    flags: str
    speed: Speed | None

    @property
    def rows_per_second(self) -> float:
        """Training positions a second; 0 where memory ran out."""
        return 0.0 if self.speed is None else self.speed.rows_per_second

    def to_json(self) -> dict[str, Any]:
        """Give the case as a JSON object."""
        found: dict[str, Any] = {}
        if self.speed is not None:
            found = dataclasses.asdict(self.speed) | {"epoch": self.speed.epoch}
            found["trace"] = None if self.speed.trace is None else str(self.speed.trace)
        return {
            "batch_size": self.batch_size,
            "flags": self.flags,
            "out_of_memory": self.speed is None,
            **found,
        }


@dataclass(frozen=True)
class TrainingBenchmark:
    """What was measured, where, the fastest case first."""

    stage: int
    device: str
    precision: str
    accumulation: int
    cases: tuple[Case, ...]

    def to_json(self) -> dict[str, Any]:
        """Give the benchmark as a JSON object."""
        return {
            "stage": self.stage,
            "device": self.device,
            "precision": self.precision,
            "gradient_accumulation_steps": self.accumulation,
            "cases": [case.to_json() for case in self.cases],
        }
