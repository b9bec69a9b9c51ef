"""Where training data comes from."""

from dataclasses import dataclass
from pathlib import Path

from maou.settings import REQUIRED, Settings, setting

GROUP = "Input"

HCPE, PREPROCESS = INPUT_FORMATS = ("hcpe", "preprocess")
CACHE_MODES = ("file", "memory", "mmap")


@dataclass(frozen=True)
class SourceConfig(Settings):
    """The source of the shards, and how a map-style dataset holds them."""

    input_path: Path = setting(
        REQUIRED,
        "File or folder of shards (.hcpe, .npy, .feather); folders are searched "
        "recursively.",
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
