"""What the stage data commands read and write."""

from dataclasses import dataclass
from pathlib import Path

from maou.settings import REQUIRED, Settings, setting
from maou.sources.choosing import require_choice
from maou.sources.config import HCPE_SUFFIXES, RecordInputConfig

OUTPUT = "Output"


@dataclass(frozen=True)
class Stage1DataConfig(Settings):
    """Where the cases of stage 1 go."""

    output_dir: Path = setting(
        REQUIRED,
        "Folder for stage1.npy; made if missing.",
        OUTPUT,
        metavar="PATH",
    )


@dataclass(frozen=True, kw_only=True)
class Stage2DataConfig(RecordInputConfig):
    """The positions of stage 2, and where they go."""

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

    def check(self) -> None:
        """Check that there is one input.

        Raises:
            ConfigError: there is none, or several.
        """
        require_choice(self, f"a file or folder of hcpe shards ({HCPE_SUFFIXES})")
