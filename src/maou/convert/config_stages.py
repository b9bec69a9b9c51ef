"""What the stage data commands read and write."""

from dataclasses import dataclass
from pathlib import Path

from maou.settings import REQUIRED, Settings, setting
from maou.sources.config import HCPE_SUFFIXES

INPUT, OUTPUT = "Input", "Output"


@dataclass(frozen=True)
class Stage1DataConfig(Settings):
    """Where the cases of stage 1 go."""

    output_dir: Path = setting(
        REQUIRED,
        "Folder for stage1.npy; made if missing.",
        OUTPUT,
        metavar="PATH",
    )


@dataclass(frozen=True)
class Stage2DataConfig(Settings):
    """The positions of stage 2, and where they go."""

    input_path: Path = setting(
        REQUIRED,
        f"File or folder of hcpe shards ({HCPE_SUFFIXES}) with the positions.",
        INPUT,
        metavar="PATH",
    )
    output_dir: Path = setting(
        REQUIRED,
        "Folder for the shards; made if missing.",
        OUTPUT,
        metavar="PATH",
    )
    shard_rows: int = setting(
        500_000,
        "Positions in a shard (145 MB).",
        OUTPUT,
        minimum=1,
        maximum=10_000_000,
    )
    workers: int | None = setting(
        None,
        "Worker processes; 0 works in this process. The output does not depend on it.",
        "Speed",
        minimum=0,
        shown_default="number of cores",
    )
