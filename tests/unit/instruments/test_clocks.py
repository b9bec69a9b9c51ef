"""Clocks on the real loop: what they count, and what they leave out."""

import itertools
from types import SimpleNamespace

import psutil
import pytest
import torch

from maou.instruments.clocks import (
    HOOKS,
    FirstBatches,
    PeakMemory,
    PhaseClock,
    StepClock,
)
from maou.instruments.training import plan_steps
from maou.train.laps import PHASES
from maou.train.step import StepSums


class Hours:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def _step(rows: int) -> StepSums:
    return StepSums(torch.zeros(1), rows)


def test_each_phase_gets_its_own_time():
    hours = Hours()
    clock = PhaseClock(hours)
    for phase, seconds in (("data", 1.0), ("forward", 2.0), ("forward", 3.0)):
        hours.now += seconds
        clock.lap(phase)
    assert clock.seconds["data"] == 1.0
    assert clock.seconds["forward"] == 5.0
    assert set(clock.seconds) == {*PHASES, HOOKS}
    hours.now += 10
    clock.restart()
    hours.now += 1
    clock.lap("loss")
    assert sum(clock.seconds.values()) == 1.0


@pytest.mark.parametrize("warm_up", [0, 1, 3])
def test_the_warm_up_is_left_out(warm_up):
    hours = Hours()
    phases = PhaseClock(hours)
    steps = 5 - warm_up
    clock = StepClock(hours, warm_up, steps, phases)
    for step in range(1, 6):
        hours.now += 100.0 if step <= warm_up else 1.0
        phases.lap("forward")
        hours.now += 0.5
        clock.on_step(None, _step(step), waited=0.0)
    hours.now += 7  # what comes after the last step is not a step's
    assert clock.rows == sum(range(warm_up + 1, 6))
    assert clock.seconds == 1.5 * steps
    assert phases.seconds["forward"] == steps
    assert phases.seconds[HOOKS] == 0.5 * steps


class Numbers:
    """Batches that are numbers; notes how many were made."""

    made = 0

    def __len__(self) -> int:
        return 10

    def batches(self, epoch: int, start: int = 0):
        for number in itertools.count(100 * epoch + start):
            self.made += 1
            yield number


def test_only_the_first_batches_are_made_and_the_length_stays():
    numbers = Numbers()
    first = FirstBatches(numbers, 3)
    assert len(first) == 10
    assert list(first.batches(2, 1)) == [201, 202, 203]
    assert numbers.made == 3
    assert first.latency > 0


@pytest.mark.parametrize(
    ("per_epoch", "expected"),
    [(60, (10, 50)), (1000, (10, 50)), (59, (10, 49)), (20, (4, 16)), (1, (0, 1))],
)
def test_a_short_epoch_keeps_most_of_its_steps_for_the_measurement(per_epoch, expected):
    assert plan_steps(per_epoch, 10, 50) == expected


def test_the_peak_of_memory_is_that_of_the_time_since():
    taken = torch.zeros(2**27)  # 512 MiB
    del taken
    now = psutil.Process().memory_info().rss
    memory = PeakMemory(torch.device("cpu"))
    before = memory.read()
    held = torch.ones(2**26)
    assert memory.read() - before > 0.9 * held.nbytes
    if "since it started" not in memory.kind:
        assert before < now + 2**28


def test_the_gpus_clock_waits_for_it(monkeypatch):
    from maou.instruments import clocks

    waited = []
    fake = SimpleNamespace(synchronize=waited.append)  # no GPU here: the edge
    monkeypatch.setattr(clocks.torch, "cuda", fake)
    device = torch.device("cuda:0")
    PhaseClock(clocks.device_clock(device)).lap("forward")
    assert waited == [device, device]
    PhaseClock(clocks.device_clock(torch.device("cpu"))).lap("forward")
    assert len(waited) == 2
