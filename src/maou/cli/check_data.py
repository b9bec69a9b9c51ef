"""`maou utility check-data`: look for bad records before they cost days."""

import json
import time
from pathlib import Path
from typing import Any

import click

from maou.checking.config import CheckConfig
from maou.cli import console
from maou.cli.inputs import build_reading
from maou.cli.options import GroupedCommand, options_from
from maou.files import atomic_write

_SECONDS_BETWEEN_LINES = 5.0


@options_from(CheckConfig)
@click.command("check-data", cls=GroupedCommand)
@click.argument(
    "input_path", metavar="PATH", required=False, type=click.Path(path_type=Path)
)
def command(**values: Any) -> int:
    """Look for bad records in PATH, a file or folder of hcpe shards, or in a store.

    Reports damaged rows, impossible positions, illegal best moves, rows without a
    policy target, duplicates, the balance of results, and how evaluations go with
    results. Exits with 1 if there are rows that no training should see, else with 0.
    """
    config = build_reading(CheckConfig, values)
    from maou.checking.run import check_data
    from maou.cli.check_report import show
    from maou.sources.opening import open_hcpe

    found = open_hcpe(config, console.note)
    if found.ignored:
        suffixes = ", ".join(sorted({file.suffix or "none" for file in found.ignored}))
        console.warn(
            f"{len(found.ignored)} files are no hcpe shards and are not looked at "
            f"(suffix {suffixes})"
        )
    begin = last = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= _SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            speed = done / (last - begin)
            console.note(f"{done / total:4.0%}  {done:,} rows, {speed:,.0f} rows/s")

    with found.naming():
        report = check_data(found, config, tell)
    console.note(
        f"{report.looked_at:,} rows looked at in {time.monotonic() - begin:.1f} s"
    )
    text = json.dumps({"path": config.place, **report.to_json()}, indent=2)
    if config.json == Path("-"):
        console.say_json(text)
        return int(report.serious)
    show(report, config.place)
    if config.json is not None:
        with (
            console.writing_to(config.json.parent),
            atomic_write(config.json) as stream,
        ):
            stream.write(f"{text}\n".encode())
        console.say(f"JSON  {config.json}")
    return int(report.serious)
