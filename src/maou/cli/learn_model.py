"""`maou learn-model`: train a network on game records."""

from typing import Any

import click

from maou.checks import check_resumed
from maou.cli import console
from maou.cli.options import GroupedCommand, build, build_run, options_from
from maou.cli.training_report import TerminalReporter
from maou.config import (
    RUN_SETTINGS,
    StartConfig,
    settings_from_record,
    without_replaced_source,
)
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
    given = {name: value for name, value in values.items() if value not in (None, ())}
    source, inherited, point = str(start.config), {}, None
    if start.config is not None:
        inherited = read_config(start.config)
    if start.resume_from is not None:
        # torch: only when there is something to train
        from maou.checkpoint.resume import LATEST, RUN_SETTINGS_FILE, find_resume_point

        model_dir = build_run(given).checkpoint.model_dir
        point = find_resume_point(start.resume_from, model_dir)
        if "model_dir" in given and start.resume_from != LATEST:
            console.warn(
                "--model-dir has no effect: a run goes on in its own folder, "
                f"{point.run_folder}"
            )
        source, inherited = "as it began", settings_from_record(point.settings)
        if point.folder is None:
            inherited = read_config(point.run_folder / RUN_SETTINGS_FILE)
            console.note(f"{point.run_folder} has no checkpoint yet: it begins again")
        for reason in point.skipped:
            console.warn(f"skipped a checkpoint: {reason}")
    config = build_run({**without_replaced_source(inherited, given), **given})
    if point is not None:
        check_resumed(build_run(inherited), config)
    origin = {name: source for name in inherited if name not in given}
    console.note("Reading the shards ...")
    from maou.run import learn

    with TerminalReporter(origin) as reporter:
        learn(
            config,
            reporter,
            dry_run=start.dry_run,
            resume=point,
            allow_changed_data=start.allow_changed_data,
        )
