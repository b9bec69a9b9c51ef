"""What the benchmarks of a user's own data measure."""

from dataclasses import dataclass
from pathlib import Path

from maou.settings import Settings, setting

MEASURE, OUTPUT = "Measurement", "Output"


@dataclass(frozen=True)
class DataloaderBenchmarkConfig(Settings):
    """The cases of `maou utility benchmark-dataloader`."""

    batch_size: int = setting(1000, "Positions in a batch.", MEASURE, minimum=1)
    workers: tuple[int, ...] = setting(
        (0, 1, 2, 4),
        "A number of worker processes to try.",
        MEASURE,
        minimum=0,
    )
    prefetch: tuple[int, ...] = setting(
        (4,),
        "A prefetch factor to try (with workers only).",
        MEASURE,
        minimum=1,
    )
    seconds: float = setting(
        3.0,
        "How long to take batches in each case, after the first batch.",
        MEASURE,
        above=0,
    )
    json: Path | None = setting(
        None,
        "Also write the result to this file as JSON; - writes it to stdout instead of "
        "the table.",
        OUTPUT,
        metavar="PATH",
    )
