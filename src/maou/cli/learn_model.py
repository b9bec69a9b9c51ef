"""`maou learn-model`: train a network on game records."""

from typing import Any

import click

from maou.cli import console
from maou.cli.options import GroupedCommand, build, options_from
from maou.cli.training_report import TerminalReporter
from maou.config import RUN_SETTINGS, RunConfig


@options_from(*RUN_SETTINGS.values())
@click.command("learn-model", cls=GroupedCommand)
def command(**values: Any) -> None:
    """Train a policy/value network on game records.

    \b
    Reads hcpe shards, holds whole games out for validation, trains, and leaves
      LOG_DIR/<run>/    TensorBoard events and metrics.jsonl
      MODEL_DIR/<run>/  checkpoints best and last, best.onnx, run.json
    """
    config = RunConfig(
        **{name: build(cls, values) for name, cls in RUN_SETTINGS.items()}  # type: ignore[arg-type]
    )
    console.note("Reading the shards ...")
    from maou.run import learn  # torch: only when there is something to train

    learn(config, TerminalReporter())
