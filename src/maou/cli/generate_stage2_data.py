"""`maou utility generate-stage2-data`: the legal moves of real positions."""

import time
from typing import Any

import click

from maou.cli.console import note, say
from maou.cli.inputs import build_reading
from maou.cli.options import GroupedCommand, options_from
from maou.convert.config_stages import Stage2DataConfig

_SECONDS_BETWEEN_LINES = 5.0


@options_from(Stage2DataConfig)
@click.command("generate-stage2-data", cls=GroupedCommand)
def command(**values: Any) -> None:
    """Write the legal moves of the positions of hcpe shards, each position once."""
    config = build_reading(Stage2DataConfig, values)
    from maou.convert.stage2 import generate_stage2
    from maou.sources.opening import open_hcpe

    shards = open_hcpe(config, note)
    begin = last = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= _SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            speed = done / (last - begin)
            note(f"{done / total:4.0%}  {done:,} positions, {speed:,.0f} positions/s")

    with shards.naming():
        result = generate_stage2(shards.shards, config, tell)
    speed = result.read / max(time.monotonic() - begin, 1e-9)
    say(f"{result.read:,} positions read, {speed:,.0f} positions/s")
    say(f"{result.written:,} distinct positions in {len(result.shards)} shards:")
    say(f"  {config.output_dir}")
