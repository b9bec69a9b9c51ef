"""`maou utility`: special data, measurements, checks and replays."""

import click

from maou.cli.lazy import LazyGroup

COMMANDS = {
    "generate-stage1-data": (
        "maou.cli.generate_stage1_data",
        "Write every case of the reachable-squares task (stage 1).",
    ),
    "generate-stage2-data": (
        "maou.cli.generate_stage2_data",
        "Write the legal moves of real positions (stage 2).",
    ),
    "benchmark-dataloader": (
        "maou.cli.benchmark_dataloader",
        "Measure how fast training batches are made from your data.",
    ),
    "benchmark-training": (
        "maou.cli.benchmark_training",
        "Measure how fast a run will train, by phase, before you start it.",
    ),
    "replay": (
        "maou.cli.replay",
        "Make a step whose loss or gradient was not finite once more.",
    ),
    "check-data": (
        "maou.cli.check_data",
        "Look for bad records: illegal moves, duplicates, missing evaluations.",
    ),
}


@click.group(cls=LazyGroup, commands_by_name=COMMANDS)
def command() -> None:
    """Make special data, measure speed, check data, replay a broken step."""
