"""One dataclass field holds everything there is to know about a setting.

A package's `config.py` declares frozen dataclasses derived from `Settings`. Each
field, made by `setting()`, carries its flag, default, range, help and group. The
command line, the checks, the documentation tables and the run record are derived
from these fields; nothing about a setting is written down a second time.

No click and no torch here: a configuration can be built and checked anywhere.
"""

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from maou.errors import ConfigError

_KEY = "maou.setting"

_LARGEST = 2**63 - 1
"""No whole number is larger, in either direction: it would not fit an int64."""

STAGES = "Multi-stage training"
"""The group of settings that several packages have a part of."""


@dataclass(frozen=True)
class Setting:
    """What a field is called on the command line, and what it may hold."""

    help: str
    group: str
    flag: str = ""
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    above: float | None = None
    maximum: float | None = None
    below: float | None = None
    shown_default: str | None = None
    metavar: str | None = None

    def range_text(self) -> str:
        """Describe the allowed range, for example `0 < x < 1`; empty if open."""
        low = high = ""
        if self.minimum is not None:
            low = f"{_number(self.minimum)} <= "
        elif self.above is not None:
            low = f"{_number(self.above)} < "
        if self.maximum is not None:
            high = f" <= {_number(self.maximum)}"
        elif self.below is not None:
            high = f" < {_number(self.below)}"
        return f"{low}x{high}" if low or high else ""

    def allows(self, value: float) -> bool:
        """Tell whether a number lies in the range."""
        return (
            (self.minimum is None or value >= self.minimum)
            and (self.above is None or value > self.above)
            and (self.maximum is None or value <= self.maximum)
            and (self.below is None or value < self.below)
        )


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def setting(default: Any, help: str, group: str, **details: Any) -> Any:  # noqa: A002
    """Declare a field of a `Settings` dataclass.

    Args:
        default: the field's default; `dataclasses.MISSING` makes it required.
        help: one or two sentences for `--help` and the documentation.
        group: heading under which help and documentation list the flag.
        **details: the other fields of `Setting`.
    """
    metadata = {_KEY: Setting(help=help, group=group, **details)}
    if default is dataclasses.MISSING:
        return field(metadata=metadata)
    return field(default=default, metadata=metadata)


REQUIRED = dataclasses.MISSING


@dataclass(frozen=True)
class BoundSetting:
    """A setting together with the field that holds it."""

    name: str
    setting: Setting
    kind: type
    optional: bool
    multiple: bool
    default: Any

    @property
    def flag(self) -> str:
        """The flag's long name, such as `--batch-size`."""
        return self.setting.flag or "--" + self.name.replace("_", "-")

    @property
    def required(self) -> bool:
        """Whether the field has no default."""
        return self.default is dataclasses.MISSING


@dataclass(frozen=True)
class ChangedSetting:
    """A setting that differs from its default, by field and as a flag."""

    name: str
    flag: str
    value: Any


def settings_of(cls: type) -> Iterator[BoundSetting]:
    """Yield the settings of a `Settings` dataclass in declaration order."""
    hints = typing.get_type_hints(cls)
    for item in dataclasses.fields(cls):
        if _KEY not in item.metadata:
            continue
        kind, optional, multiple = _describe(hints[item.name])
        yield BoundSetting(
            name=item.name,
            setting=item.metadata[_KEY],
            kind=kind,
            optional=optional,
            multiple=multiple,
            default=item.default,
        )


def changed_in(config: "Settings") -> Iterator[ChangedSetting]:
    """Yield the settings that differ from their defaults."""
    for bound in settings_of(type(config)):
        value = getattr(config, bound.name)
        if bound.required or value != bound.default:
            yield ChangedSetting(bound.name, _shown_flag(bound, value), value)


def changed_flag(bound: BoundSetting) -> str:
    """Return the flag that changes a setting from its default."""
    return _shown_flag(bound, not bound.default if bound.kind is bool else None)


def _shown_flag(bound: BoundSetting, value: Any) -> str:
    if bound.kind is bool and value is False:
        return "--no-" + bound.flag.removeprefix("--")
    return bound.flag


def _describe(hint: Any) -> tuple[type, bool, bool]:
    """Split an annotation into its scalar type, `| None`, and `tuple[T, ...]`."""
    optional = False
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        members = [arg for arg in typing.get_args(hint) if arg is not type(None)]
        assert len(members) == 1, hint
        optional, hint = True, members[0]
    if typing.get_origin(hint) is tuple:
        return typing.get_args(hint)[0], optional, True
    return hint, optional, False


class Settings:
    """Base of the configuration dataclasses: an instance that exists is valid."""

    def __post_init__(self) -> None:
        """Normalise choices and check ranges; then run the class's own `check`.

        Raises:
            ConfigError: a value is out of its range or not among the choices.
        """
        for bound in settings_of(type(self)):
            value = getattr(self, bound.name)
            if value is None:
                continue
            if bound.multiple and not isinstance(value, (tuple, list)):
                raise ConfigError(f"{bound.flag}: {value!r} is not a list")
            values = value if bound.multiple else (value,)
            fixed = tuple(_checked(bound, item) for item in values)
            object.__setattr__(self, bound.name, fixed if bound.multiple else fixed[0])
        self.check()

    def check(self) -> None:
        """Check what concerns several fields of this class together."""


def _checked(bound: BoundSetting, value: Any) -> Any:
    spec = bound.setting
    if bound.kind in (Path, str):
        if not isinstance(value, (str, Path)):
            raise ConfigError(f"{bound.flag}: {value!r} is not text")
        _require_text(bound.flag, str(value))
    if bound.kind is Path:
        return Path(value)
    if spec.choices:
        return choose(bound.flag, str(value), spec.choices)
    if bound.kind is bool and not isinstance(value, bool):
        raise ConfigError(f"{bound.flag}: {value!r} is not True or False")
    if bound.kind in (int, float):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ConfigError(f"{bound.flag}: {value!r} is not a number")
        if isinstance(value, int) and abs(value) > _LARGEST:
            raise ConfigError(f"{bound.flag}: the number is too large")
        if not math.isfinite(value):
            raise ConfigError(f"{bound.flag}: {value} is not a finite number")
        if bound.kind is int and not isinstance(value, int):
            raise ConfigError(f"{bound.flag}: {value} is not a whole number")
        if not spec.allows(value):
            raise ConfigError(
                f"{bound.flag}: {value} is out of range; it needs {spec.range_text()}"
            )
    return value


def _require_text(flag: str, value: str) -> None:
    """Refuse what a settings file or a path cannot hold.

    Raises:
        ConfigError: a NUL character, or bytes that are no UTF-8.
    """
    if "\0" in value:
        raise ConfigError(f"{flag}: {value!r} holds a NUL character")
    if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
        raise ConfigError(f"{flag}: {value!r} is not UTF-8 text; rename it")


def choose(flag: str, value: str, choices: tuple[str, ...]) -> str:
    """Find the choice that `value` names, whatever its case and punctuation.

    Spaces, `+`, `_` and `-` do not count: `warmup cosine decay` names
    `Warmup+CosineDecay`.

    Raises:
        ConfigError: no choice has that name; the message lists them all and, where
            one is close, the nearest.
    """
    folded = {_fold(choice): choice for choice in choices}
    found = folded.get(_fold(value))
    if found is not None:
        return found
    short = value[:100]  # the search takes long on long texts
    near = difflib.get_close_matches(_fold(short), list(folded), n=1, cutoff=0.5)
    hint = f" Did you mean {folded[near[0]]}?" if near else ""
    raise ConfigError(f"{flag}: {short!r} is not one of {', '.join(choices)}.{hint}")


def _fold(name: str) -> str:
    return "".join(c for c in name.casefold() if c not in " +_-")


def as_plain(config: Any) -> dict[str, Any]:
    """Turn a configuration into a JSON-ready dictionary, nested by package."""
    plain: dict[str, Any] = {}
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            plain[item.name] = as_plain(value)
        elif isinstance(value, Path):
            plain[item.name] = str(value)
        elif isinstance(value, tuple):
            plain[item.name] = [str(v) if isinstance(v, Path) else v for v in value]
        else:
            plain[item.name] = value
    return plain
