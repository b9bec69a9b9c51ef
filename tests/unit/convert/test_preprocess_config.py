"""The settings of pre-process."""

from pathlib import Path
from typing import Any

import pytest

from maou.convert.config_preprocess import PreProcessConfig, parse_size
from maou.errors import ConfigError


def config(**values: Any) -> PreProcessConfig:
    return PreProcessConfig(input_path=Path("in"), output_dir=Path("out"), **values)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("2GB", 2 * 10**9),
        ("2 gb", 2 * 10**9),
        ("1.5GiB", 3 * 2**29),
        ("300M", 300 * 10**6),
        ("300mib", 300 * 2**20),
        ("64kB", 64_000),
        ("123456", 123_456),
        ("7B", 7),
        ("1TB", 10**12),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size("--memory-limit", text) == size
    assert config(memory_limit=text).memory_bytes == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "2XB", "0", "1,5GB", "1e9", "2GBB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--memory-limit: .*such as 2GB"):
        config(memory_limit=text)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"test_ratio": 0.0}, "--test-ratio"),
        ({"test_ratio": 1.0}, "--test-ratio"),
        ({"seed": -1}, "--seed"),
        ({"workers": 0}, "--workers"),
        ({"shard_rows": 0}, "--shard-rows"),
        ({"shard_rows": 2_000_001}, "--shard-rows"),
        ({"output_format": "hcpe"}, "--output-format"),
    ],
)
def test_what_cannot_be_meant_is_refused(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        config(**values)


def test_the_output_cannot_lie_in_the_input() -> None:
    for target in ("in", "in/out", "in/a/../b"):
        with pytest.raises(ConfigError, match="--output-dir"):
            PreProcessConfig(input_path=Path("in"), output_dir=Path(target))
    PreProcessConfig(input_path=Path("in"), output_dir=Path("in-out"))
