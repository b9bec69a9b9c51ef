"""The containers of preprocess records, by file suffix and form."""

from pathlib import Path

from maou.errors import DataError
from maou.records.arrow import ArrowFile
from maou.records.containers import GAME_SUFFIXES
from maou.records.npy_header import read_header
from maou.records.preprocess_feather import DenseFeather, PackedFeather
from maou.records.preprocess_npy import DenseNpy, PackedNpy
from maou.records.preprocess_shards import (
    HCPE_REMEDY,
    PreprocessShard,
    kind_of_fields,
)

PREPROCESS_CONTAINERS: dict[tuple[str, bool], type[PreprocessShard]] = {
    (".npy", True): PackedNpy,
    (".npy", False): DenseNpy,
    (".feather", True): PackedFeather,
    (".feather", False): DenseFeather,
}
"""The shard of each (suffix, packed)."""


def open_preprocess_shard(path: Path, packed: bool) -> PreprocessShard:
    """Open a shard of preprocess records by its suffix, reading its header only.

    Raises:
        DataError: the suffix names no container, or the file is of another kind.
    """
    container = PREPROCESS_CONTAINERS.get((path.suffix.lower(), packed))
    if container is None and path.suffix.lower() in GAME_SUFFIXES:
        raise DataError(f"{path}: {HCPE_REMEDY}")
    if container is None:
        raise DataError(
            f"{path}: {path.suffix or 'no suffix'} is not a preprocess container; "
            "known are .npy, .feather"
        )
    return container(path)  # type: ignore[call-arg]


def kind_of_file(path: Path) -> str:
    """Tell what records a file holds by its header (see `kind_of_fields`).

    Raises:
        DataError: no such file, or it is not what its suffix says.
    """
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return kind_of_fields(read_header(path)[1].names or ())
    if suffix == ".feather":
        with ArrowFile(path).open() as reader:
            return kind_of_fields(reader.schema.names)
    return "hcpe" if suffix in GAME_SUFFIXES else ""
