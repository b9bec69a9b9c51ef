"""`maou utility generate-stage1-data`: every case of the reachable-squares task."""

from typing import Any

import click

from maou.cli.console import say
from maou.cli.options import GroupedCommand, build, options_from
from maou.convert.config_stages import Stage1DataConfig
from maou.files import atomic_write


@options_from(Stage1DataConfig)
@click.command("generate-stage1-data", cls=GroupedCommand)
def command(**values: Any) -> None:
    """Write every case of where a piece can go on an otherwise empty board.

    1,105 cases: the 14 kinds of piece on each square where they may stand (1,098), and
    the seven kinds in hand with nothing on the board.
    """
    config = build(Stage1DataConfig, values)
    import numpy as np

    from maou.convert.stage1 import stage1_cases

    path = config.output_dir / "stage1.npy"
    cases = stage1_cases()
    with atomic_write(path) as stream:
        np.lib.format.write_array(stream, cases)
    say(f"{len(cases):,} cases in {path}")
