"""What the benchmarks of a user's own data measure."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maou.errors import ConfigError
from maou.settings import Settings, setting

MEASURE, OUTPUT = "Measurement", "Output"


def _json() -> Any:
    return setting(
        None,
        "Also write the result to this file as JSON; - writes it to stdout instead of "
        "the table.",
        OUTPUT,
        metavar="PATH",
    )


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
    json: Path | None = _json()


@dataclass(frozen=True)
class TrainingBenchmarkConfig(Settings):
    """What `maou utility benchmark-training` measures of a run."""

    batches: int = setting(
        50,
        "Batches to measure, in whole optimiser steps.",
        MEASURE,
        minimum=1,
    )
    warm_up: int = setting(
        10,
        "Batches to train on before the clock starts.",
        MEASURE,
        minimum=1,
    )
    batch_sizes: tuple[int, ...] = setting(
        (),
        "A batch size to try.",
        MEASURE,
        minimum=1,
        shown_default="the batch size of the run",
    )
    enable_profiling: bool = setting(
        False,
        "After the measurement, record a few steps with torch.profiler.",
        MEASURE,
    )
    profile_dir: Path | None = setting(
        None,
        "Folder for the traces of --enable-profiling, one a batch size, for "
        "ui.perfetto.dev or chrome://tracing.",
        OUTPUT,
        metavar="PATH",
        shown_default="logs/training_profile_<time>",
    )
    json: Path | None = _json()

    def check(self) -> None:
        """Refuse a folder for traces that nobody records.

        Raises:
            ConfigError: there is one.
        """
        if self.profile_dir is not None and not self.enable_profiling:
            raise ConfigError("--profile-dir needs --enable-profiling")
