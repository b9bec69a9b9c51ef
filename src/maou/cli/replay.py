"""`maou utility replay`: a step whose numbers were not finite, once more."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from maou.cli import console
from maou.cli.options import GroupedCommand, build, options_from
from maou.files import atomic_write
from maou.replay.config import ReplayConfig

if TYPE_CHECKING:  # the replay imports torch; help texts must not
    from maou.replay.run import Replay

_ROWS_SHOWN = 10


@options_from(ReplayConfig)
@click.command("replay", cls=GroupedCommand)
@click.argument("bundle", metavar="BUNDLE", type=click.Path(path_type=Path))
def command(**values: Any) -> int:
    """Make the step of BUNDLE again, a folder that learn-model left when it stopped.

    Says whether the same losses and gradients are not finite, and where that begins:
    the module, the rows, the operation. Exits with 0 if they are the same, else with 1.
    """
    config = build(ReplayConfig, values)
    from maou.replay.run import replay  # torch: only when there is something to do

    result = replay(config)
    text = json.dumps(result.to_json(), indent=2)
    if config.json == Path("-"):
        console.say_json(text)
    else:
        _show(result)
    if config.json not in (None, Path("-")):
        with atomic_write(config.json) as stream:
            stream.write(f"{text}\n".encode())
        console.say(f"JSON  {config.json}")
    return 0 if result.reproduced else 1


def _show(result: "Replay") -> None:
    bundle = result.bundle
    console.say(
        f"Step {bundle.step:,} (epoch {bundle.epoch}), recorded on {bundle.device} in "
        f"{bundle.precision} with torch {bundle.torch_version}, made again on "
        f"{result.device}"
    )
    facts = {
        "recorded": bundle.found.describe(),
        "now": result.found.describe() or "everything is finite",
        "forward": result.trace.forward and f"first {result.trace.forward}",
        "backward": result.trace.backward and f"first {result.trace.backward}",
        "operation": result.operation,
        **{f"{name} of rows": _rows(rows) for name, rows in result.rows.items()},
    }
    for name, said in facts.items():
        if said:
            console.say(f"{name:>20}  {said}")
    if not result.reproduced:
        console.say("Not reproduced: other numbers are not finite, or none.")
        return
    losses = "the same bits" if result.same_losses else "other bits"
    console.say(
        f"Reproduced: losses with {losses}, {result.same_gradients} of "
        f"{len(bundle.found.digests)} gradients with the same bits."
    )


def _rows(rows: list[int]) -> str:
    shown = ", ".join(f"{row}" for row in rows[:_ROWS_SHOWN])
    more = len(rows) - _ROWS_SHOWN
    return f"{shown} and {more:,} more" if more > 0 else shown
