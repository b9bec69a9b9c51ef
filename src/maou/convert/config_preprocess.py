"""Settings of `maou pre-process`."""

import re
from dataclasses import dataclass
from pathlib import Path

from maou.errors import ConfigError
from maou.settings import REQUIRED, changed_in, setting
from maou.sources.choosing import require_choice
from maou.sources.config import BIGQUERY as SOURCE_BIGQUERY
from maou.sources.config import GROUP, HCPE_SUFFIXES, RecordInputConfig

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(|[KMGT]I?)B?", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}

ENGINES = THREADS, RAY, BIGQUERY = ("threads", "ray", "bigquery")

_SPLIT, _OUTPUT, _RESOURCES = "Split", "Output", "Resources"


@dataclass(frozen=True, kw_only=True)
class PreProcessConfig(RecordInputConfig):
    """Everything `maou pre-process` can be told."""

    output_dir: Path = setting(
        REQUIRED,
        "Folder for train/ and validation/; created when missing. Spilled data goes "
        "there too while the command runs.",
        _OUTPUT,
        metavar="PATH",
    )
    exclude: tuple[Path, ...] = setting(
        (),
        "File or folder of shards, hcpe or preprocess, such as a test set: positions "
        "that occur there are left out.",
        GROUP,
        metavar="PATH",
    )
    test_ratio: float = setting(
        0.2,
        "Share of the games that go to validation/. A game is never on both sides.",
        _SPLIT,
        above=0,
        below=1,
    )
    seed: int = setting(
        0,
        "Seed of the split; the same seed and ratio split as learn-model does.",
        _SPLIT,
        minimum=0,
        maximum=2**63 - 1,
    )
    output_format: str = setting(
        "npy",
        "Container of the shards: npy is read at any place without unpacking, feather "
        "is compressed.",
        _OUTPUT,
        choices=("npy", "feather"),
    )
    packed: bool = setting(
        True,
        "Write position codes and the moves that were played, about 50 bytes a "
        "position, instead of all 1496 labels, 6.1 kB a position.",
        _OUTPUT,
    )
    shard_rows: int = setting(
        500_000,
        "Most positions in a shard.",
        _OUTPUT,
        minimum=1,
        maximum=2_000_000,
    )
    memory_limit: str = setting(
        "2GB",
        "Most memory to use, whatever the size of the input: bytes, or a number with "
        "kB, MB, GB or KiB, MiB, GiB. On a Ray cluster each task may take so much.",
        _RESOURCES,
        metavar="SIZE",
    )
    workers: int | None = setting(
        None,
        "Threads that work, or tasks on a Ray cluster; fewer where --memory-limit "
        "allows no more. The output is the same for any number.",
        _RESOURCES,
        minimum=1,
        shown_default="number of cores",
    )
    engine: str = setting(
        THREADS,
        "What adds the positions up: threads of this machine, a Ray cluster (extra "
        "ray), or BigQuery (extra gcp), where the table of --input-dataset-id is. The "
        "output is the same.",
        _RESOURCES,
        choices=ENGINES,
    )
    ray_address: str | None = setting(
        None,
        "The Ray cluster, such as 10.0.0.1:6379 or ray://10.0.0.1:10001.",
        _RESOURCES,
        metavar="ADDRESS",
        shown_default="RAY_ADDRESS, else a cluster of this machine, else a new one",
    )

    def check(self) -> None:
        """Check the input, the size, and that the output is not part of the input.

        Raises:
            ConfigError: not one source, no such size, output below the input folder, or
                a flag of an engine that is not asked for.
        """
        require_choice(self, f"a file or folder of hcpe shards ({HCPE_SUFFIXES})")
        if self.ray_address is not None and self.engine != RAY:
            raise ConfigError(
                f"--ray-address: needs --engine {RAY}; this is --engine {self.engine}"
            )
        if self.engine == BIGQUERY and self.provider != SOURCE_BIGQUERY:
            raise ConfigError(
                f"--engine {BIGQUERY}: adds up the rows of a table; needs "
                "--input-dataset-id and --input-table-name"
            )
        parse_size("--memory-limit", self.memory_limit)
        if self.input_path is None:
            return
        source, target = self.input_path.resolve(), self.output_dir.resolve()
        if target == source or source in target.parents:
            raise ConfigError(
                f"--output-dir: {self.output_dir} lies in --input-path "
                f"{self.input_path}, so its shards would be taken for input; give a "
                "folder elsewhere"
            )

    def idle_with_engine(self) -> list[str]:
        """List the flags that were given and that the engine makes no use of."""
        fetching = (
            "input_local_cache_dir",
            "input_local_cache",
            "input_max_cached_bytes",
            "input_clustering_key",
            "input_partitioning_key_date",
        )
        return [
            item.flag
            for item in changed_in(self)
            if self.engine == BIGQUERY and item.name in fetching
        ]

    @property
    def memory_bytes(self) -> int:
        """The memory limit in bytes."""
        return parse_size("--memory-limit", self.memory_limit)


def parse_size(flag: str, text: str) -> int:
    """Read a size such as `2GB` (10^9), `1.5GiB` (2^30) or `300000000`.

    Raises:
        ConfigError: it is not one, or it is zero.
    """
    found = _SIZE.fullmatch(text.strip())
    if not found or not float(found[1]):
        raise ConfigError(
            f"{flag}: {text!r} is not a size; write bytes or a number with kB, MB, GB, "
            "KiB, MiB or GiB, such as 2GB"
        )
    unit = found[2].lower()
    return int(
        float(found[1]) * (1024 if "i" in unit else 1000) ** _POWERS[unit.rstrip("i")]
    )
