"""`maou learn-model`: train a network on game records."""

from typing import Any

import click

from maou.cli import console
from maou.cli.options import GroupedCommand, build, options_from
from maou.cli.training_report import TerminalReporter
from maou.config import RUN_SETTINGS, RunConfig, StartConfig
from maou.config_file import read_config


@options_from(StartConfig, *RUN_SETTINGS.values())
@click.command("learn-model", cls=GroupedCommand)
def command(**values: Any) -> None:
    """Train a policy/value network on game records.

    \b
    Reads hcpe shards, holds whole games out for validation, trains, and leaves
      LOG_DIR/<run>/    TensorBoard events and metrics.jsonl
      MODEL_DIR/<run>/  checkpoints best and last, best.onnx, run.toml
    """
    start = build(StartConfig, values)
    from_file = {} if start.config is None else read_config(start.config)
    given = {name: value for name, value in values.items() if value not in (None, ())}
    config = RunConfig(
        **{  # type: ignore[arg-type]
            name: build(cls, {**from_file, **given})
            for name, cls in RUN_SETTINGS.items()
        }
    )
    origin = {name: str(start.config) for name in from_file if name not in given}
    console.note("Reading the shards ...")
    from maou.run import learn  # torch: only when there is something to train

    learn(config, TerminalReporter(origin), dry_run=start.dry_run)
