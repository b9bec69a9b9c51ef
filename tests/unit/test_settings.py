"""Settings: what is allowed, what is refused, and with which words."""

import json
import math
from dataclasses import FrozenInstanceError, dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maou.config import RUN_SETTINGS, RunConfig
from maou.data.config import DataConfig
from maou.errors import ConfigError
from maou.settings import (
    REQUIRED,
    Setting,
    Settings,
    as_plain,
    choose,
    setting,
    settings_of,
)
from maou.sources.config import SourceConfig

CHOICES = ("Warmup+CosineDecay", "CosineAnnealingLR", "none")


@dataclass(frozen=True)
class Example(Settings):
    """One setting of every kind."""

    path: Path = setting(REQUIRED, "A path.", "A")
    count: int = setting(3, "A count.", "A", minimum=1, maximum=8)
    share: float = setting(0.5, "A share.", "A", above=0, below=1)
    rate: float = setting(0.1, "A rate.", "B", flag="--learning-ratio", above=0)
    free: float = setting(0.0, "Any number.", "B")
    schedule: str = setting("none", "A schedule.", "B", choices=CHOICES)
    limit: int | None = setting(None, "Perhaps a limit.", "B", minimum=0)
    names: tuple[str, ...] = setting((), "Names.", "B", choices=("ab", "cd"))
    sizes: tuple[int, ...] = setting((1,), "Sizes.", "B", minimum=1)
    folders: tuple[Path, ...] = setting((), "Folders.", "B")
    on: bool = setting(False, "A switch.", "B")
    derived: int = field(default=7)

    def check(self) -> None:
        """Refuse a count above the limit."""
        if self.limit is not None and self.count > self.limit:
            raise ConfigError(f"--count {self.count} is above --limit {self.limit}")


def made(**values: Any) -> Example:
    return Example(path=Path("x"), **values)


def test_settings_describe_their_fields() -> None:
    found = {bound.name: bound for bound in settings_of(Example)}
    assert "derived" not in found
    assert found["path"].required
    assert found["rate"].flag == "--learning-ratio"
    assert found["count"].flag == "--count"
    assert (found["limit"].kind, found["limit"].optional) == (int, True)
    assert (found["names"].kind, found["names"].multiple) == (str, True)
    assert (found["folders"].kind, found["folders"].multiple) == (Path, True)
    assert found["share"].setting.range_text() == "0 < x < 1"
    assert found["count"].setting.range_text() == "1 <= x <= 8"
    assert found["rate"].setting.range_text() == "0 < x"
    assert found["free"].setting.range_text() == ""
    big = Setting("", "", minimum=0, maximum=2**63 - 1)
    assert big.range_text() == "0 <= x <= 9223372036854775807"


@pytest.mark.parametrize(
    "values",
    [
        {"count": 1},
        {"count": 8},
        {"share": 1e-300},
        {"share": math.nextafter(1, 0)},
        {"rate": 10},
        {"free": -1e300},
        {"limit": None},
        {"limit": 3},
        {"sizes": (1, 2)},
        {"sizes": ()},
    ],
)
def test_values_in_range_are_kept(values: dict[str, Any]) -> None:
    for name, value in values.items():
        assert getattr(made(**values), name) == value


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"count": 0}, "--count: 0 is out of range; it needs 1 <= x <= 8"),
        ({"count": 9}, "--count: 9 is out of range; it needs 1 <= x <= 8"),
        ({"share": 0.0}, "--share: 0.0 is out of range; it needs 0 < x < 1"),
        ({"share": 1}, "--share: 1 is out of range; it needs 0 < x < 1"),
        ({"rate": -0.0}, "--learning-ratio: -0.0 is out of range; it needs 0 < x"),
        ({"limit": -1}, "--limit: -1 is out of range; it needs 0 <= x"),
        ({"sizes": (2, 0)}, "--sizes: 0 is out of range; it needs 1 <= x"),
        ({"share": math.nan}, "--share: nan is not a finite number"),
        ({"rate": math.inf}, "--learning-ratio: inf is not a finite number"),
        ({"free": -math.inf}, "--free: -inf is not a finite number"),
        ({"free": math.nan}, "--free: nan is not a finite number"),
        ({"count": True}, "--count: True is not a number"),
        ({"rate": False}, "--learning-ratio: False is not a number"),
        ({"count": "3"}, "--count: '3' is not a number"),
        ({"count": 2.0}, "--count: 2.0 is not a whole number"),
        ({"limit": 1.5}, "--limit: 1.5 is not a whole number"),
        ({"on": "yes"}, "--on: 'yes' is not True or False"),
        ({"on": 1}, "--on: 1 is not True or False"),
        ({"count": 5, "limit": 4}, "--count 5 is above --limit 4"),
    ],
)
def test_values_out_of_range_are_refused_by_flag(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        made(**values)
    assert str(caught.value) == message
    assert isinstance(caught.value, ValueError)
    assert caught.value.exit_code == 2


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_a_float_is_kept_exactly_when_its_range_allows_it(value: float) -> None:
    inside = 0 < value < 1
    if inside:
        assert made(share=value).share == value
    else:
        with pytest.raises(ConfigError):
            made(share=value)


def test_paths_are_made_of_text() -> None:
    assert Example(path="a/b").path == Path("a/b")  # type: ignore[arg-type]
    assert made(folders=("a", Path("b"))).folders == (Path("a"), Path("b"))


@pytest.mark.parametrize(
    "text",
    [
        "Warmup+CosineDecay",
        "warmup cosine decay",
        "WARMUP_COSINE_DECAY",
        "warmup-cosine-decay",
        " warmupcosinedecay ",
    ],
)
def test_a_choice_ignores_case_and_punctuation(text: str) -> None:
    assert made(schedule=text).schedule == "Warmup+CosineDecay"


def test_an_unknown_choice_lists_all_and_suggests_the_nearest() -> None:
    with pytest.raises(ConfigError) as caught:
        choose("--lr-scheduler", "warmup cosin", CHOICES)
    assert str(caught.value) == (
        "--lr-scheduler: 'warmup cosin' is not one of Warmup+CosineDecay, "
        "CosineAnnealingLR, none. Did you mean Warmup+CosineDecay?"
    )
    with pytest.raises(ConfigError) as caught:
        choose("--lr-scheduler", "xyzzy", CHOICES)
    assert "Did you mean" not in str(caught.value)
    with pytest.raises(ConfigError, match="--names: 'ef' is not one of ab, cd"):
        made(names=("ab", "ef"))


@given(st.text(max_size=12))
def test_any_text_is_a_choice_or_refused(text: str) -> None:
    folded = [c for c in text.casefold() if c not in " +_-"]
    if folded in [[c for c in name.casefold() if c != "+"] for name in CHOICES]:
        assert choose("--flag", text, CHOICES) in CHOICES
    else:
        with pytest.raises(ConfigError, match="is not one of"):
            choose("--flag", text, CHOICES)


def test_settings_cannot_be_changed_afterwards() -> None:
    config = made()
    with pytest.raises(FrozenInstanceError):
        config.count = 99  # type: ignore[misc]


def test_configurations_become_plain_json() -> None:
    config = RunConfig(SourceConfig(input_path=Path("games")), DataConfig(seed=3))
    plain = json.loads(json.dumps(as_plain(config)))
    assert set(plain) == set(RUN_SETTINGS)
    assert plain["source"]["input_path"] == "games"
    assert plain["data"]["seed"] == 3
    assert as_plain(made(folders=(Path("a"),), sizes=(4,)))["folders"] == ["a"]
    for package, cls in RUN_SETTINGS.items():
        assert set(plain[package]) == {bound.name for bound in settings_of(cls)}


def test_the_run_configuration_lists_each_package_once() -> None:
    flags = [bound.flag for cls in RUN_SETTINGS.values() for bound in settings_of(cls)]
    assert len(flags) == len(set(flags)), "two settings share a flag"
    names = [b.name for cls in RUN_SETTINGS.values() for b in settings_of(cls)]
    assert len(names) == len(set(names)), "the command line could not tell them apart"


@pytest.mark.parametrize("package", RUN_SETTINGS)
def test_defaults_are_valid_and_helped(package: str) -> None:
    cls = RUN_SETTINGS[package]
    needed = {bound.name: "x" for bound in settings_of(cls) if bound.required}
    config = cls(**needed)
    for bound in settings_of(cls):
        assert bound.setting.help.endswith(".")
        assert bound.setting.group
        if not bound.required:
            assert getattr(config, bound.name) == bound.default
