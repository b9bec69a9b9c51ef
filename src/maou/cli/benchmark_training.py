"""`maou utility benchmark-training`: the speed of a run before the run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from maou.cli import console
from maou.cli.options import GroupedCommand, build, build_run, options_from
from maou.config import RUN_SETTINGS, StartConfig
from maou.config_file import read_config
from maou.files import atomic_write
from maou.instruments.config import TrainingBenchmarkConfig
from maou.settings import settings_of

if TYPE_CHECKING:  # the instrument imports torch; help texts must not
    from maou.instruments.speeds import Case, Speed, TrainingBenchmark

_WITHOUT_EFFECT = frozenset(
    (
        *("log_dir", "tensorboard_histogram_frequency", "tensorboard_histogram_module"),
        *("stage1_threshold", "stage2_threshold"),
        *("early_stopping_patience", "early_stopping_metric", "skip_loss_spikes"),
    )
)
_RUN = {
    name: cls
    for name, cls in RUN_SETTINGS.items()
    if name not in {"checkpoint", "publish"}
}
_FIELDS = tuple(
    bound.name
    for cls in _RUN.values()
    for bound in settings_of(cls)
    if bound.name not in _WITHOUT_EFFECT
)
"""The settings of learn-model that decide how fast a run is."""


@options_from(TrainingBenchmarkConfig)
@options_from(StartConfig, *_RUN.values(), only=("config", *_FIELDS))
@click.command("benchmark-training", cls=GroupedCommand)
def command(**values: Any) -> None:
    """Measure how fast a run will train, before you start it.

    Takes the flags of learn-model, trains on some batches with its own loop, and tells
    the speed, the time of each phase of a step, the memory, and the time of an epoch.
    Nothing is kept of the network, and no logs are written.
    """
    wanted = build(TrainingBenchmarkConfig, values)
    start = build(StartConfig, values)
    given = {name: value for name, value in values.items() if value not in (None, ())}
    from_file = {} if start.config is None else read_config(start.config)
    config = build_run({**from_file, **given})
    from maou.instruments.training import benchmark_training

    result = benchmark_training(config, wanted, _tell, console.warn, console.note)
    text = json.dumps(result.to_json(), indent=2)
    if wanted.json == Path("-"):
        console.say_json(text)
        return
    _show(result)
    if wanted.json is not None:
        with atomic_write(wanted.json) as stream:
            stream.write(f"{text}\n".encode())


def _tell(case: "Case") -> None:
    if case.speed is None:
        console.note(f"{case.flags}: out of memory")
        return
    console.note(f"{case.flags}: {case.rows_per_second:,.0f} positions/s")
    if case.speed.shortened:
        console.warn(
            f"{case.flags}: an epoch is too short for what was asked for; "
            f"{case.speed.steps} steps were measured after {case.speed.warm_up}"
        )


def _show(result: "TrainingBenchmark") -> None:
    """Print a column for each case, the fastest first."""
    cases = [(case, case.speed) for case in result.cases]
    speeds = [speed for _, speed in cases if speed is not None]
    rows: list[tuple[str, Callable[[Speed], str]]] = [
        ("positions/s", lambda speed: f"{speed.rows_per_second:,.0f}"),
        ("ms a step", lambda speed: f"{speed.step_seconds * 1e3:,.1f}"),
        *((f"  {name}", _phase(name)) for name in speeds[0].phase_seconds),
        ("peak memory, MB", lambda speed: f"{speed.peak_memory / 1e6:,.0f}"),
        ("first batch", lambda speed: _time(speed.first_batch)),
        ("epoch, estimated", lambda speed: _time(speed.epoch)),
        ("  training", lambda speed: _time(speed.training)),
        ("  validation", lambda speed: _time(speed.validation)),
    ]
    best = " (best)" if len(cases) > 1 else ""
    headings = [
        f"{case.batch_size:,}{best if place == 0 else ''}"
        for place, (case, _) in enumerate(cases)
    ]
    cells = [
        (title, *("-" if speed is None else shown(speed) for _, speed in cases))
        for title, shown in rows
    ]
    if len(speeds) < len(cases):
        verdicts = ["" if speed else "out of memory" for _, speed in cases]
        cells.insert(0, ("", *verdicts))
    micro = result.accumulation
    steps = f", {micro} batches a step" if micro > 1 else ""
    console.table(
        ("batch size", *headings),
        cells,
        f"Stage {result.stage} on {result.device}, {result.precision}{steps}",
    )
    console.say(f"Memory: {speeds[0].memory_kind}.")
    for speed in speeds:
        if speed.trace is not None:
            console.say(f"Trace: {speed.trace}")
    console.say(f"learn-model {result.cases[0].flags}")


def _phase(name: str) -> "Callable[[Speed], str]":
    def shown(speed: "Speed") -> str:
        seconds = speed.phase_seconds[name]
        share = seconds / sum(speed.phase_seconds.values())
        return f"{seconds * 1e3:,.1f} ({share:.0%})"

    return shown


def _time(seconds: float) -> str:
    return f"{seconds:,.1f} s" if seconds < 100 else console.duration(seconds)
