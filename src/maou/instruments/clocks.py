"""What an instrument hangs on the real loop: clocks, a limit, the peak of memory."""

import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch

from maou.data.batch import PositionBatch
from maou.data.loader import BatchSource
from maou.train.hooks import Hook
from maou.train.laps import PHASES, Laps
from maou.train.state import TrainState
from maou.train.step import StepSums

HOOKS = "hooks"
"""What follows the phases of a step: what hangs on the loop, such as progress lines."""

Clock = Callable[[], float]


def device_clock(device: torch.device) -> Clock:
    """Give a clock in seconds that first waits for what the device has yet to do."""
    if device.type != "cuda":
        return time.perf_counter

    def now() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return now


class PhaseClock(Laps):
    """Adds up the seconds of each phase.

    Attributes:
        seconds: by phase, since the last restart.
    """

    def __init__(self, clock: Clock) -> None:
        """Take a clock (`device_clock`), and start."""
        self._clock = clock
        self.restart()

    def restart(self) -> None:
        """Forget what was measured; the next phase begins now."""
        self.seconds = dict.fromkeys((*PHASES, HOOKS), 0.0)
        self._since = self._clock()

    def lap(self, phase: str) -> None:
        """Add the time since the last lap to a phase."""
        now = self._clock()
        self.seconds[phase] += now - self._since
        self._since = now


class StepClock(Hook):
    """Times some steps after the warm-up; goes after the other hooks.

    Attributes:
        steps: optimiser steps to time.
        rows: their rows.
        seconds: their time, once all are made.
    """

    def __init__(
        self, clock: Clock, warm_up: int, steps: int, phases: PhaseClock | None = None
    ) -> None:
        """Start; `phases` is restarted after `warm_up` steps too."""
        self._clock, self._phases = clock, phases
        self.steps, self.rows, self.seconds = steps, 0, 0.0
        self._made = -warm_up
        self._restart()

    def _restart(self) -> None:
        if self._phases is not None:
            self._phases.restart()
        self._since = self._clock()

    def on_step(self, state: TrainState, sums: StepSums, waited: float) -> None:
        """Count a step."""
        if self._phases is not None:
            self._phases.lap(HOOKS)
        self._made += 1
        if self._made == 0:
            self._restart()
        elif self._made > 0:
            self.rows += sums.rows
        if self._made == self.steps:
            self.seconds = self._clock() - self._since


@dataclass
class FirstBatches:
    """The first batches of each epoch of a source (a `BatchSource`).

    Attributes:
        source: gives all batches; its length is this one's, so that the schedule of
            the learning rate is the real one.
        limit: how many batches to pass on.
        latency: seconds from the start of the latest epoch to its first batch.
    """

    source: BatchSource
    limit: int
    latency: float = 0.0

    def __len__(self) -> int:
        """Return the number of batches of a full epoch."""
        return len(self.source)

    def batches(self, epoch: int, start: int = 0) -> Iterator[PositionBatch]:
        """Yield at most `limit` batches."""
        begin: float | None = time.perf_counter()
        for batch in islice(self.source.batches(epoch, start), self.limit):
            if begin is not None:
                self.latency, begin = time.perf_counter() - begin, None
            yield batch


_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


class PeakMemory:
    """The peak of memory since it was made: the GPU's, else this process's.

    Attributes:
        kind: what is measured, in words.
    """

    def __init__(self, device: torch.device) -> None:
        """Start to watch."""
        self._device = device
        if device.type == "cuda":
            self.kind = "GPU memory that torch allocated, at its peak"
            torch.cuda.reset_peak_memory_stats(device)
            return
        self.kind = "memory of this process (without loader workers), at its peak"
        try:
            _CLEAR.write_text("5")  # Linux: the peak is now the present size
        except OSError:
            self.kind += " since it started"

    def read(self) -> int:
        """Return the peak in bytes."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device)
        try:
            lines = _STATUS.read_text().splitlines()
            peak = next(line for line in lines if line.startswith("VmHWM:"))
            return int(peak.split()[1]) * 1024
        except (OSError, StopIteration):
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
