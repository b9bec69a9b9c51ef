"""What `maou utility check-data` looks at."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from maou.settings import setting
from maou.sources.choosing import require_choice
from maou.sources.config import HCPE_SUFFIXES, RecordInputConfig

WORK, OUTPUT = "Work", "Output"


@dataclass(frozen=True, kw_only=True)
class CheckConfig(RecordInputConfig):
    """The records to check, how many of them, and where the report goes."""

    local_flag: ClassVar[str] = "PATH"

    input_path: Path | None = None
    """The command's argument: a file or folder of hcpe shards."""

    sample_rows: int = setting(
        0,
        "Look at about this many rows, in evenly spaced blocks; 0 looks at all. "
        "Duplicates and games are then those of the sample.",
        WORK,
        minimum=0,
    )
    workers: int | None = setting(
        None,
        "Worker processes; 0 works in this process. The report does not depend on it.",
        WORK,
        minimum=0,
        shown_default="number of cores, 0 for less than a million rows",
    )
    examples: int = setting(
        5,
        "How many rows to name for each kind of fault.",
        OUTPUT,
        minimum=0,
        maximum=10_000,
    )
    json: Path | None = setting(
        None,
        "Also write the report to this file as JSON; - writes it to stdout instead of "
        "the tables.",
        OUTPUT,
        metavar="PATH",
    )

    def check(self) -> None:
        """Check that there is one input.

        Raises:
            ConfigError: there is none, or several.
        """
        require_choice(self, f"a file or folder of hcpe shards ({HCPE_SUFFIXES})")
