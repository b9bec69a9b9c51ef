"""`maou utility benchmark-dataloader`: the loader's speed on the user's own data."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from maou.cli import console
from maou.cli.inputs import build_reading
from maou.cli.options import GroupedCommand, build, options_from
from maou.files import atomic_write
from maou.instruments.config import DataloaderBenchmarkConfig
from maou.sources.config import FormatConfig


@options_from(DataloaderBenchmarkConfig)
@options_from(FormatConfig)
@click.command("benchmark-dataloader", cls=GroupedCommand)
def command(**values: Any) -> None:
    """Measure how fast training batches are made from your data, for each setting.

    Tries streaming and both cache modes with each number of workers, with and without
    --cache-transforms where that matters, and prints the flags of the fastest.
    """
    source = build_reading(FormatConfig, values)
    config = build(DataloaderBenchmarkConfig, values)
    from maou.instruments.dataloader import benchmark_dataloader

    cases = benchmark_dataloader(
        source,
        config,
        lambda case: console.note(f"{case.rows_per_second:>12,.0f}/s  {case.flags}"),
        console.note,
    )
    text = json.dumps(
        [{**asdict(case), "flags": case.flags} for case in cases], indent=2
    )
    if config.json == Path("-"):
        console.say_json(text)
        return
    rows = [
        (
            case.flags + (" (best)" if place == 0 else ""),
            f"{case.rows_per_second:,.0f}",
            f"{case.first_batch:.2f}",
        )
        for place, case in enumerate(cases)
    ]
    headings = ("flags", "positions/s", "first batch, s")
    console.table(headings, rows, f"Batches of {config.batch_size:,} positions")
    console.say(f"learn-model {cases[0].flags}")
    if config.json is not None:
        with atomic_write(config.json) as stream:
            stream.write(f"{text}\n".encode())
