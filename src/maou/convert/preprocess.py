"""hcpe shards to preprocess records: the run of `maou pre-process`.

Four phases, each of jobs that leave whole files, so that a run that was stopped goes on
with the jobs whose files are missing:

- split: mark the rows of each shard that are held out, by game;
- spill: code the positions of some rows, add up equal ones, leave a sorted run;
- merge: add up a range of positions from all runs, leave it as packed positions;
- write: cut those into shards of the wanted form.

Positions are ordered by a hash of their code, and ranges cover that order, so the
shards depend neither on the order of the input nor on threads or memory, and not on the
engine that does the phases.
"""

from collections.abc import Callable

from maou.convert.config_preprocess import BIGQUERY, RAY, PreProcessConfig
from maou.convert.engine_threads import SPILLED, ThreadsEngine
from maou.convert.preprocess_input import Input
from maou.convert.preprocess_state import SIDES, Report, begin_or_resume
from maou.convert.progress import require_no_links, require_sizes, sole_use


def pre_process(
    config: PreProcessConfig,
    tell: Callable[[Report], None] = lambda _: None,
    note: Callable[[str], None] = lambda _: None,
) -> Report:
    """Aggregate hcpe shards, going on where an earlier run stopped.

    Args:
        config: what to aggregate, and how.
        tell: called after each job with how far the work is.
        note: called with lines about the progress of a fetch.

    Raises:
        ConfigError: the output folder holds other work, or too little memory.
        DataError: no shards, damaged shards, or a row that is no sample.
        RemoteError: shards that cannot be fetched.
        MaouError: every position was excluded.
        OSError: the output cannot be written.
    """
    source, engine = _chosen(config, note)
    config.output_dir.mkdir(parents=True, exist_ok=True)
    require_no_links(*(config.output_dir / name for name in (SPILLED, *SIDES)))
    with sole_use(config.output_dir), source.naming():
        state, resumed = begin_or_resume(config, source.digests)
        run = engine(config, source, state, tell)
        run.resumed = resumed
        if state.phase == "complete":
            require_sizes(state.shards, config.output_dir)
        else:
            run.work()
        run.clean_up()
        return run.report()


def _chosen(
    config: PreProcessConfig, note: Callable[[str], None]
) -> tuple[Input, Callable[..., ThreadsEngine]]:
    """Open the input for the engine that is asked for; imports what that needs."""
    if config.engine == BIGQUERY:
        from maou.convert.engine_bigquery import BigQueryEngine, TableInput

        return TableInput(config, note), BigQueryEngine
    if config.engine == RAY:
        from maou.convert.engine_ray import RayEngine

        return Input(config, note), RayEngine
    return Input(config, note), ThreadsEngine
