"""The settings of hcpe-convert."""

from pathlib import Path
from typing import Any

import pytest

from maou.convert.config import END_TOKENS, HcpeConvertConfig
from maou.errors import ConfigError


def config(**values: Any) -> HcpeConvertConfig:
    return HcpeConvertConfig(input_path=Path("in"), output_dir=Path("out"), **values)


@pytest.mark.parametrize("text", ["%TORYO", "toryo", "%Toryo"])
def test_end_tokens_are_normalised(text: str) -> None:
    assert config(allowed_endgame_status=(text,)).allowed_endgame_status == ("%TORYO",)


def test_the_two_sides_illegal_actions_stay_apart() -> None:
    made = config(allowed_endgame_status=("%+ILLEGAL_ACTION", "-illegal_action"))
    assert made.allowed_endgame_status == ("%+ILLEGAL_ACTION", "%-ILLEGAL_ACTION")


def test_tokens_fit_the_field_of_the_record() -> None:
    assert max(map(len, END_TOKENS)) <= 16


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"allowed_endgame_status": ("%TORIO",)}, "%TORYO"),
        ({"min_moves": 9, "max_moves": 8}, "--max-moves"),
        ({"exclude_moves": ("0",)}, "--exclude-moves"),
        ({"exclude_moves": ("7g7",)}, "--exclude-moves"),
        ({"exclude_moves": ("resign",)}, "--exclude-moves"),
        ({"input_format": "usi"}, "--input-format"),
        ({"output_format": "parquet"}, "--output-format"),
        ({"shard_rows": 0}, "--shard-rows"),
        ({"workers": -1}, "--workers"),
        ({"min_rating": -1}, "--min-rating"),
    ],
)
def test_what_cannot_be_meant_is_refused(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        config(**values)


def test_moves_to_exclude() -> None:
    made = config(exclude_moves=("1", "3-20", "7g7f", "8h2b+", "P*5e"))
    assert made.exclude_moves == ("1", "3-20", "7g7f", "8h2b+", "P*5e")
