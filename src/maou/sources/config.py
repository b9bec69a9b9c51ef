"""Where training data comes from."""

from dataclasses import dataclass
from pathlib import Path

from maou.settings import Settings, setting

GROUP = "Input"
STAGES = "Multi-stage training"

HCPE, PREPROCESS = INPUT_FORMATS = ("hcpe", "preprocess")
HCPE_SUFFIXES = ".hcpe, .hcpe3, .psv, .bin, .npy, .feather"
"""What hcpe shards end in, for messages; `HCPE_CONTAINERS` has the readers."""

CACHE_MODES = ("file", "memory", "mmap")


@dataclass(frozen=True)
class SourceConfig(Settings):
    """The source of the shards, and how a map-style dataset holds them."""

    input_path: Path | None = setting(
        None,
        f"File or folder of shards ({HCPE_SUFFIXES}); folders are searched "
        "recursively. Staged training has paths of its own (--stage3-data-path).",
        GROUP,
        metavar="PATH",
    )
    input_format: str = setting(
        "hcpe",
        "Kind of record in the shards: single positions of games, or what "
        "pre-process made of them.",
        GROUP,
        choices=INPUT_FORMATS,
    )
    input_file_packed: bool = setting(
        False,
        "The preprocess shards are packed.",
        GROUP,
    )
    input_cache_mode: str = setting(
        "file",
        "How a map-style dataset holds its rows: 'file' keeps one array a shard, "
        "'memory' joins them into one array. 'mmap' is deprecated and means 'file'.",
        GROUP,
        choices=CACHE_MODES,
    )


@dataclass(frozen=True)
class StageSourceConfig(Settings):
    """The source of each stage's shards."""

    stage1_data_path: Path | None = setting(
        None,
        "File or folder of stage 1 records (reachable squares), which maou utility "
        "generate-stage1-data makes.",
        STAGES,
        metavar="PATH",
    )
    stage2_data_path: Path | None = setting(
        None,
        "File or folder of stage 2 records (legal moves), which maou utility "
        "generate-stage2-data makes of hcpe shards.",
        STAGES,
        metavar="PATH",
    )
    stage3_data_path: Path | None = setting(
        None,
        "File or folder of preprocess records for stage 3 (policy and value), which "
        "maou pre-process makes of hcpe shards; no other records serve. Packed ones "
        "need --input-file-packed.",
        STAGES,
        metavar="PATH",
    )
