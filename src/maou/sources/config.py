"""Where data comes from: what every command that reads can be told."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from maou.settings import STAGES, Settings, setting

GROUP = "Input"
CLOUD = "Input from a cloud store"
FROM_BIGQUERY = "Input from BigQuery"

HCPE, PREPROCESS = INPUT_FORMATS = ("hcpe", "preprocess")
HCPE_SUFFIXES = ".hcpe, .hcpe3, .psv, .bin, .npy, .feather"
"""What hcpe shards end in, for messages; `HCPE_CONTAINERS` has the readers."""

CACHE_MODES = ("file", "memory", "mmap")

GCS, S3 = "gcs", "s3"
_SCHEMES = {GCS: "gs", S3: "s3"}
BIGQUERY = "bigquery"

GB = 1_000_000_000


@dataclass(frozen=True)
class InputConfig(Settings):
    """Where a command's input is: a local path or a cloud store.

    Commands derive their settings from this class, and say again what `input_path` is.
    """

    local_flag: ClassVar[str] = "--input-path"
    """What messages call the local path."""

    input_path: Path | None = setting(
        None,
        "File or folder to read.",
        GROUP,
        metavar="PATH",
    )
    input_gcs: bool = setting(
        False,
        "Read from Google Cloud Storage (extra gcp). Needs "
        "--input-bucket-name, --input-prefix, --input-data-name and "
        "--input-local-cache-dir.",
        CLOUD,
    )
    input_s3: bool = setting(
        False,
        "Read from AWS S3, or what speaks its protocol (extra aws). Needs "
        "the same flags as --input-gcs.",
        CLOUD,
    )
    input_bucket_name: str | None = setting(
        None,
        "The bucket.",
        CLOUD,
        metavar="NAME",
    )
    input_prefix: str | None = setting(
        None,
        "Where the data sets are in the bucket, without the data set's own name; an "
        "empty text is the bucket's root.",
        CLOUD,
        metavar="PREFIX",
    )
    input_data_name: str | None = setting(
        None,
        "The data set: the objects below PREFIX/NAME/, or the one object of that name.",
        CLOUD,
        metavar="NAME",
    )
    input_local_cache_dir: Path | None = setting(
        None,
        "Folder that keeps what was fetched; runs share it, also at the same time.",
        CLOUD,
        metavar="PATH",
    )
    input_local_cache: bool = setting(
        True,
        "Keep what was fetched for later runs. Otherwise it goes to a folder of this "
        "run below --input-local-cache-dir, which is removed at the end.",
        CLOUD,
    )
    input_max_cached_bytes: int | None = setting(
        None,
        "Remove what was used longest ago when the cache would hold more than this; "
        "never what a run needs.",
        CLOUD,
        minimum=1,
        metavar="BYTES",
        shown_default="no limit",
    )
    input_max_workers: int = setting(
        8,
        "Objects fetched at a time, or streams of BigQuery's rows.",
        CLOUD,
        minimum=1,
        maximum=256,
    )

    @property
    def provider(self) -> str | None:
        """The cloud store that is asked for: `gcs`, `s3` or None."""
        if self.input_gcs:
            return GCS
        return S3 if self.input_s3 else None

    @property
    def place(self) -> str:
        """Where the input is, for people: a path, or a URL."""
        if self.provider is None:
            return str(self.input_path)
        parts = (self.input_bucket_name, self.input_prefix, self.input_data_name)
        below = "/".join(part.strip("/") for part in parts if part)
        return f"{_SCHEMES[self.provider]}://{below}"

    def sources(self) -> list[str]:
        """List the flags that name a source, as they were given."""
        named = {
            self.local_flag: self.input_path is not None,
            "--input-gcs": self.input_gcs,
            "--input-s3": self.input_s3,
        }
        return [flag for flag, given in named.items() if given]

    def missing_partners(self) -> list[str]:
        """List the flags that a cloud source needs and that were not given."""
        if self.provider is None:
            return []
        # Of the prefix an empty text means something, of the others it does not.
        named = {
            "--input-bucket-name": not self.input_bucket_name,
            "--input-prefix": self.input_prefix is None,
            "--input-data-name": not (self.input_data_name or "").strip("/"),
            "--input-local-cache-dir": self.input_local_cache_dir is None,
        }
        return [flag for flag, missing in named.items() if missing]


@dataclass(frozen=True)
class RecordInputConfig(InputConfig):
    """Where records are, for the commands that read records of games."""

    input_path: Path | None = setting(
        None,
        f"File or folder of hcpe shards ({HCPE_SUFFIXES}); folders are searched "
        "recursively.",
        GROUP,
        metavar="PATH",
    )
    input_enable_bundling: bool = setting(
        False,
        "Join small shards into larger local files, in order: same rows, fewer files. "
        "Of shards without game ids the split then holds out whole bundles.",
        CLOUD,
    )
    input_bundle_size_gb: float = setting(
        1.0, "About how large a bundle gets, in 10^9 bytes.", CLOUD, above=0
    )
    input_dataset_id: str | None = setting(
        None,
        "Read the rows of a table of BigQuery (extra gcp): its data set, as DATASET or "
        "PROJECT.DATASET. Needs --input-table-name.",
        FROM_BIGQUERY,
        metavar="NAME",
    )
    input_table_name: str | None = setting(
        None,
        "The table in the data set. Needs --input-dataset-id.",
        FROM_BIGQUERY,
        metavar="NAME",
    )
    input_batch_size: int = setting(
        1_000_000,
        "Rows of a local shard that the table's rows are kept in (of dense preprocess "
        "records at most 100,000), and about the rows of a page.",
        FROM_BIGQUERY,
        minimum=1,
        metavar="ROWS",
    )
    input_clustering_key: str | None = setting(
        None,
        "Read the table in pages, by ranges of this column (text, whole numbers or "
        "dates), the first by which it is clustered.",
        FROM_BIGQUERY,
        metavar="COLUMN",
    )
    input_partitioning_key_date: str | None = setting(
        None,
        "Read the table in pages, by ranges of this column of dates, by which it is "
        "partitioned. Not together with --input-clustering-key.",
        FROM_BIGQUERY,
        metavar="COLUMN",
    )

    @property
    def provider(self) -> str | None:
        """The store that is asked for: `gcs`, `s3`, `bigquery` or None."""
        in_table = (
            self.input_dataset_id is not None or self.input_table_name is not None
        )
        return super().provider or (BIGQUERY if in_table else None)

    @property
    def place(self) -> str:
        """Where the input is, for people: a path, a URL or a table."""
        if self.provider != BIGQUERY:
            return super().place
        return f"BigQuery {self.input_dataset_id}.{self.input_table_name}"

    def sources(self) -> list[str]:
        """List the flags that name a source, as they were given."""
        named = {
            "--input-dataset-id": self.input_dataset_id is not None,
            "--input-table-name": self.input_dataset_id is None
            and self.input_table_name is not None,
        }
        return super().sources() + [flag for flag, given in named.items() if given]

    def missing_partners(self) -> list[str]:
        """List the flags that a cloud source needs and that were not given."""
        if self.provider != BIGQUERY:
            return super().missing_partners()
        named = {
            "--input-dataset-id": not self.input_dataset_id,
            "--input-table-name": not self.input_table_name,
        }
        return [flag for flag, missing in named.items() if missing]


@dataclass(frozen=True)
class FormatConfig(RecordInputConfig):
    """Where records are, for the commands that read either kind."""

    input_path: Path | None = setting(
        None,
        f"File or folder of shards ({HCPE_SUFFIXES}); folders are searched "
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


@dataclass(frozen=True)
class SourceConfig(FormatConfig):
    """The source of the shards, and how a map-style dataset holds them."""

    input_path: Path | None = setting(
        None,
        f"File or folder of shards ({HCPE_SUFFIXES}); folders are searched "
        "recursively. Staged training has paths of its own (--stage3-data-path).",
        GROUP,
        metavar="PATH",
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
