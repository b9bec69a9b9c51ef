"""`maou pre-process`: hcpe records to distinct positions."""

from typing import Any

import click

from maou.cli.console import Progressing, note, say, table, warn, writing_to
from maou.cli.inputs import build_reading
from maou.cli.options import GroupedCommand, options_from
from maou.cli.tables import TableLoading
from maou.cli.uploads import build_publish, mirroring, require_one_output
from maou.convert.config_preprocess import THREADS, PreProcessConfig
from maou.publish.config import PublishConfig
from maou.sources.config_table import TableOutputConfig


@options_from(PreProcessConfig, TableOutputConfig, PublishConfig)
@click.command(
    cls=GroupedCommand,
    name="pre-process",
    help="Aggregate hcpe shards to preprocess records: one record a position, with the "
    "moves that were played in it and their results.\n\n"
    "Games are split into train/ and validation/ first. Running the same command again "
    "goes on where it stopped.",
)
def command(**values: Any) -> None:
    """Aggregate, with progress on stderr and a summary on stdout."""
    config = build_reading(PreProcessConfig, values)
    for flag in config.idle_with_engine():
        warn(f"{flag} has no effect: --engine {config.engine} fetches no rows")
    kind = "packed" if config.packed else "dense"
    loading = TableLoading(values, config.output_dir, kind)
    publish = build_publish(values)
    require_one_output(publish, table=loading.is_wanted)
    loading.require_room()
    # Imported after the options are checked: numba is not needed to help.
    from maou.convert.preprocess import pre_process
    from maou.convert.preprocess_state import Report

    def tell(report: Report) -> None:
        rows = sum(report.state.rows)
        text = f"{report.phase:5}  of {rows:,} positions"
        progress.update(report.fraction, text)
        uploads.finished(shard["name"] for shard in report.state.shards)

    with mirroring(publish, config.output_dir, "pre-process.json") as uploads:
        with writing_to(config.output_dir), Progressing() as progress:
            report = pre_process(config, tell, note)
        names = [shard["name"] for shard in report.state.shards]
        uploads.complete(names)
        _summarise(report, config)
    with writing_to(config.output_dir):
        loading.load(
            [
                (shard["name"], shard["positions"], shard["name"].split("/")[0])
                for shard in report.state.shards
            ],
            "pre-process.json",
        )


def _summarise(report: Any, config: PreProcessConfig) -> None:
    state = report.state
    if state.warning:
        warn(state.warning)
    wanted = config.workers
    threads = config.engine == THREADS and report.worked
    if threads and wanted is not None and report.threads < wanted:
        warn(
            f"--workers {wanted}: --memory-limit {config.memory_limit} allows "
            f"{report.threads}"
        )
    for side, positions in zip(("train", "validation"), state.positions, strict=True):
        if not positions:
            warn(f"--exclude left no position in {config.output_dir / side}")
    if not report.worked:
        say("Nothing was left to do: an earlier run finished this work.")
    elif report.resumed:
        say("Went on with an earlier run.")
    names = ("rows", "positions", "moves", "excluded_positions", "excluded_rows")
    numbers = [
        [f"{count:,}" for count in (*getattr(state, name), sum(getattr(state, name)))]
        for name in names
        if config.exclude or not name.startswith("excluded")
    ]
    titles = (
        "input positions",
        "distinct positions",
        "moves of these",
        "positions excluded",
        "their input positions",
    )
    table(
        ["", "train", "validation", "all"],
        [[title, *row] for title, row in zip(titles, numbers, strict=False)],
        title=f"split by {state.unit}, {1 - config.test_ratio:.0%} of them to train",
    )
    size = sum(shard["bytes"] for shard in state.shards)
    form = "packed" if config.packed else "dense"
    say(
        f"{len(state.shards)} {form} {config.output_format} shards, {size / 1e6:,.1f} "
        f"MB, {size / sum(state.positions):,.1f} bytes a position, in "
        f"{config.output_dir}"
    )
    if report.worked and not report.resumed:
        speed = sum(state.rows) / max(report.seconds, 1e-9)
        say(f"{report.seconds:.1f} s, {speed:,.0f} input positions/s")
