"""A run's speed before the run: its own loop for some batches, and an epoch's time.

Everything that trains is what learn-model makes of the same settings; only the number
of batches is limited. On a GPU the phases are measured in a pass of their own: telling
them apart means waiting for the device after each, which a run does not do.
"""

import dataclasses
import gc
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, schedule

from maou.checks import check_sources, warnings_for
from maou.config import RunConfig
from maou.errors import ConfigError, TrainingError
from maou.instruments.clocks import (
    FirstBatches,
    PeakMemory,
    PhaseClock,
    StepClock,
    device_clock,
)
from maou.instruments.config import TrainingBenchmarkConfig
from maou.instruments.speeds import Case, Speed, TrainingBenchmark
from maou.logs.health import HealthHook
from maou.prepared import Prepared, prepare_stages
from maou.stages import Stage, stages_of
from maou.train.device import Compute, resolve_compute
from maou.train.hooks import Hook
from maou.train.laps import NO_LAPS, Laps
from maou.train.state import TrainState
from maou.train.step import StepSums

PROFILED_STEPS = 5
"""Steps in a trace, after one that is thrown away: a trace of more is slow to open."""


def benchmark_training(
    config: RunConfig,
    wanted: TrainingBenchmarkConfig,
    tell: Callable[[Case], None],
    warn: Callable[[str], None],
    note: Callable[[str], None] = lambda _: None,
) -> TrainingBenchmark:
    """Measure a run with each batch size; nothing but traces is written.

    Args:
        config: the run.
        wanted: what to measure.
        tell: called with each case when it has been measured.
        warn: called with what the user should know.
        note: called with lines about the progress of a fetch.

    Raises:
        ConfigError, CheckpointError, DataError: as learn-model does.
        TrainingError: training diverged, or memory ran out with every batch size.
    """
    if config.stages.stage == "all":
        raise ConfigError(
            "--stage all: one stage is measured at a time; give --stage 1, 2 or 3"
        )
    compute = resolve_compute(config.train.gpu, config.train.precision)
    check_sources(config)
    (stage,) = stages_of(config)
    folder = None
    if wanted.enable_profiling:
        stamp = time.strftime("%Y%m%d-%H%M%S")
        folder = wanted.profile_dir or Path("logs") / f"training_profile_{stamp}"
    cases: list[Case] = []
    told: set[str] = set()
    # From small to large: memory that a process took once it often keeps.
    for size in sorted(set(wanted.batch_sizes or (stage.data.batch_size,))):
        flag = "batch-size" if stage.number == 3 else f"stage{stage.number}-batch-size"
        sized = _with_batch_size(config, stage, size)
        measurement = _Measurement(wanted, folder, compute, told, warn, note)
        case = Case(size, f"--{flag} {size}", _unless_too_large(measurement, sized))
        tell(case)
        cases.append(case)
    if all(case.speed is None for case in cases):
        raise TrainingError(
            f"{compute.describe()} has too little memory for any batch size tried; "
            "give a smaller one, or --gradient-checkpointing"
        )
    cases.sort(key=lambda case: case.rows_per_second, reverse=True)
    return TrainingBenchmark(
        stage.number,
        compute.describe(),
        compute.precision,
        stage.train.gradient_accumulation_steps,
        tuple(cases),
    )


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"--profile-dir {folder}: {error.strerror}; name a folder that can be "
            "written"
        ) from error


def _with_batch_size(config: RunConfig, stage: Stage, size: int) -> RunConfig:
    if stage.number == 3:
        data = dataclasses.replace(config.data, batch_size=size)
        return dataclasses.replace(config, data=data)
    own: dict[str, Any] = {f"stage{stage.number}_batch_size": size}
    stages = dataclasses.replace(config.stages, **own)
    return dataclasses.replace(config, stages=stages)


def _unless_too_large(measurement: "_Measurement", config: RunConfig) -> Speed | None:
    """Measure; None where the device's memory does not suffice."""
    try:
        return measurement.measure(config)
    except torch.OutOfMemoryError:
        return None
    finally:
        # What one case leaves behind must not count against the next.
        gc.collect()
        if measurement.compute.device.type == "cuda":
            torch.cuda.empty_cache()
        if config.train.compilation or config.stages.stage12_compilation:
            torch.compiler.reset()


def plan_steps(per_epoch: int, warm_up: int, steps: int) -> tuple[int, int]:
    """Give the steps before and during the measurement, in an epoch of so many.

    A short epoch is measured whole, but for a fifth of it at most to warm up.
    """
    if warm_up + steps <= per_epoch:
        return warm_up, steps
    warm_up = min(warm_up, per_epoch // 5)
    return warm_up, per_epoch - warm_up


@dataclass(frozen=True)
class _Measurement:
    """Measures one case.

    Attributes:
        wanted: what to measure.
        folder: where traces go; None records none.
        compute: where to compute.
        told: warnings that were given before.
        warn: called with the others.
        note: called with lines about the progress of a fetch.
    """

    wanted: TrainingBenchmarkConfig
    folder: Path | None
    compute: Compute
    told: set[str]
    warn: Callable[[str], None]
    note: Callable[[str], None]

    def measure(self, config: RunConfig) -> Speed:
        """Train for some steps, validate on some batches, and reckon an epoch."""
        memory = PeakMemory(self.compute.device)
        (prepared,) = prepare_stages(stages_of(config), self.compute, tell=self.note)
        self._warn(prepared)
        if self.folder is not None:
            _make(self.folder)
        with prepared.data.shards.naming():
            return self._speed(prepared, memory)

    def _speed(self, prepared: Prepared, memory: PeakMemory) -> Speed:
        passes = _Passes(prepared, self.compute)
        micro = prepared.stage.train.gradient_accumulation_steps
        per_epoch = prepared.trainer.steps_per_epoch
        wanted = (
            math.ceil(self.wanted.warm_up / micro),
            math.ceil(self.wanted.batches / micro),
        )
        warm_up, steps = plan_steps(per_epoch, *wanted)
        passes.validate(self.wanted.warm_up)  # as a run does before it trains
        on_cuda = self.compute.device.type == "cuda"
        phases = PhaseClock(device_clock(self.compute.device))
        timed = passes.train(warm_up, steps, None if on_cuda else phases)
        first_batch = passes.latency
        if on_cuda:
            passes.train(warm_up, steps, phases)
        validation = passes.validate(self.wanted.batches)
        peak = memory.read()
        trace = None
        if self.folder is not None:
            size = prepared.trainer.batch_size
            trace = self.folder / f"batch-{size}.pt.trace.json"
            passes.profile(min(PROFILED_STEPS + 1, per_epoch), trace)
        rate = timed.rows / timed.seconds
        refills = _refills(prepared, (warm_up + steps) * micro)
        return Speed(
            warm_up=warm_up,
            steps=steps,
            shortened=(warm_up, steps) != wanted,
            rows_per_second=rate,
            step_seconds=timed.seconds / steps,
            phase_seconds={
                name: seconds / steps for name, seconds in phases.seconds.items()
            },
            first_batch=first_batch,
            training=(
                first_batch * (1 + refills) + prepared.data.training.count / rate
            ),
            validation=validation,
            peak_memory=peak,
            memory_kind=memory.kind,
            trace=trace,
        )

    def _warn(self, prepared: Prepared) -> None:
        for warning in warnings_for(
            prepared.stage.config,
            streaming=prepared.data.streaming,
            on_cuda=self.compute.device.type == "cuda",
        ):
            if warning not in self.told:
                self.told.add(warning)
                self.warn(warning)


def _refills(prepared: Prepared, batches: int) -> int:
    """Count the windows that streaming will read and that no step has waited for.

    Each costs about what the first batch did. Workers read them ahead.
    """
    config, rows = prepared.stage.data, prepared.data.training.count
    taken = batches * config.batch_size
    if not prepared.data.streaming or config.dataloader_workers:
        return 0
    if taken > config.shuffle_rows:
        return 0
    return math.ceil(rows / config.shuffle_rows) - 1


class _Passes:
    """The run's own loop, a limited number of batches at a time.

    Attributes:
        latency: seconds to the first batch of the latest pass of training.
    """

    def __init__(self, prepared: Prepared, compute: Compute) -> None:
        self._prepared, self._clock = prepared, device_clock(compute.device)
        self._state: TrainState = prepared.state()
        self._forward: nn.Module = prepared.trainer.forward_of(prepared.network)
        self._state.epoch = prepared.trainer.train.start_epoch
        self.latency = 0.0

    def train(self, warm_up: int, steps: int, phases: PhaseClock | None) -> StepClock:
        """Train; give the clock of the steps after the warm-up."""
        clock = StepClock(self._clock, warm_up, steps, phases)
        self._train(warm_up + steps, [clock], phases or NO_LAPS)
        if warm_up == 0:  # the wait for the first batch is told apart
            clock.seconds -= self.latency
            if phases is not None:
                phases.seconds["data"] -= self.latency
        return clock

    def profile(self, steps: int, path: Path) -> None:
        """Record steps in a trace; the first of several warms the profiler up."""
        activities = [ProfilerActivity.CPU]
        if self._prepared.trainer.compute.device.type == "cuda":
            activities.append(ProfilerActivity.CUDA)
        plan = None
        if steps > 1:
            plan = schedule(wait=0, warmup=1, active=steps - 1, repeat=1)
        with profile(
            activities=activities,
            schedule=plan,
            on_trace_ready=lambda made: made.export_chrome_trace(str(path)),
        ) as profiler:
            self._train(steps, [_EachStep(profiler.step)], NO_LAPS)

    def _train(self, steps: int, hooks: Sequence[Hook], laps: Laps) -> None:
        trainer = self._prepared.trainer
        micro = trainer.train.gradient_accumulation_steps
        source = FirstBatches(trainer.training, steps * micro)
        health = HealthHook(
            trainer.task.columns,
            trainer.total_steps,
            self._prepared.stage.config.logs.health_interval,
            listeners=(),
        )
        limited = dataclasses.replace(trainer, training=source, laps=laps, halve=False)
        health.on_resume(self._state)
        limited.train_epoch(self._state, self._forward, [health, *hooks])
        health.before_validation(self._state)
        self.latency = source.latency
        self._state.epoch += 1
        self._state.batches = 0

    def validate(self, batches: int) -> float:
        """Validate on some batches; give the seconds that all would take."""
        trainer = self._prepared.trainer
        source = FirstBatches(trainer.validation, batches)
        limited = dataclasses.replace(trainer, validation=source)
        begin = self._clock()
        metrics = limited.validate(self._state.network, self._forward)
        seconds = self._clock() - begin - source.latency
        share = metrics.rows / self._prepared.data.validation.count
        return source.latency + seconds / share


@dataclass(frozen=True)
class _EachStep(Hook):
    """Calls something after each step."""

    call: Callable[[], object]

    def on_step(self, state: TrainState, sums: StepSums, waited: float) -> None:
        self.call()
