"""`maou hcpe-convert`: game files to hcpe training records."""

from typing import Any

import click

from maou.cli.console import Progressing, note, say, writing_to
from maou.cli.inputs import build_reading
from maou.cli.options import GroupedCommand, options_from
from maou.cli.tables import TableLoading
from maou.cli.uploads import build_publish, mirroring, require_one_output
from maou.convert.config import HcpeConvertConfig
from maou.errors import ConfigError, MaouError
from maou.publish.config import PublishConfig
from maou.sources.config_table import TableOutputConfig


@options_from(HcpeConvertConfig, TableOutputConfig, PublishConfig)
@click.command(
    cls=GroupedCommand,
    name="hcpe-convert",
    help="Convert CSA, KIF and KI2 games to shards of hcpe training records.\n\n"
    "Games that cannot be converted are listed in rejects.tsv in the output folder "
    "with the reason. Running the same command again goes on where it stopped.",
)
def command(**values: Any) -> None:
    """Convert games, with progress on stderr and a summary on stdout."""
    config = build_reading(HcpeConvertConfig, values)
    loading = TableLoading(values, config.output_dir, "hcpe")
    if loading.is_wanted and config.output_format == "hcpe":
        raise ConfigError(
            "--output-dataset-id: a table keeps the game of each position, which "
            "--output-format hcpe does not; use feather or npy"
        )
    publish = build_publish(values)
    require_one_output(publish, table=loading.is_wanted)
    loading.require_room()
    # Imported after the options are checked: numpy and rsshogi are not needed to help.
    from maou.convert.hcpe import Report, convert_games

    def tell(report: Report) -> None:
        progress.update(
            report.fraction,
            f"{report.progress.games:,} games finished, "
            f"{report.positions:,} positions converted, {_speed(report)}",
        )
        # A shard's size is noted when it is finished.
        shards = report.progress.shards
        uploads.finished(shard["name"] for shard in shards if shard["bytes"])

    last = ("rejects.tsv", "hcpe-convert.json")
    with mirroring(publish, config.output_dir, *last) as uploads:
        with writing_to(config.output_dir), Progressing() as progress:
            report = convert_games(config, tell, note)
        names = [shard["name"] for shard in report.progress.shards]
        uploads.complete(names)
        _summarise(report, config)
    with writing_to(config.output_dir):
        shards = report.progress.shards
        loading.load(
            [(shard["name"], shard["rows"], "") for shard in shards],
            "hcpe-convert.json",
        )


def _speed(report: Any) -> str:
    return f"{report.run_positions / max(report.seconds, 1e-9):,.0f} positions/s"


def _summarise(report: Any, config: HcpeConvertConfig) -> None:
    done = report.progress
    where = config.output_dir
    if report.resumed and not report.run_positions:
        say("Nothing was left to do: an earlier run finished this conversion.")
    elif report.resumed:
        say("Went on from the last finished shard of an earlier run.")
    say(f"files      {done.inputs['files']:,}")
    say(f"games      {done.games:,}")
    say(f"converted  {done.converted:,}")
    for title, counts in (("rejected", done.rejected), ("filtered", done.filtered)):
        kinds = ", ".join(f"{n:,} {kind}" for kind, n in sorted(counts.items()))
        say(f"{title:9}  {sum(counts.values()):,}{f'  ({kinds})' if kinds else ''}")
    say(f"positions  {done.positions:,}")
    if report.run_positions:
        say(f"time       {report.seconds:.1f} s, {_speed(report)}")
    say(f"shards     {len(done.shards)} in {where}")
    if done.rejected:
        say(f"report     {where / 'rejects.tsv'}")
    if not done.converted:
        raise MaouError(
            f"no game was converted: {sum(done.rejected.values())} were rejected "
            f"(see {where / 'rejects.tsv'}) and {sum(done.filtered.values())} dropped "
            "by the filters"
        )
