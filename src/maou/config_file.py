"""Settings as a TOML file: one table a package, keys named as the flags are.

`run.toml` of a run holds every setting, so that `--config run.toml` makes the same run.
"""

import difflib
import json
import tomllib
from pathlib import Path
from typing import Any

from maou.config import RUN_SETTINGS, RunConfig
from maou.errors import ConfigError
from maou.reading import read_limited
from maou.settings import BoundSetting, settings_of
from maou.text import shortened

_MOST_BYTES = 1 << 18
_MOST_DOTS = 300  # in a line: the parser takes memory by the square of a key's parts

HEADER = """\
# Every setting of this run. `maou learn-model --config FILE` makes the same run again;
# flags on the command line go before the file's.
"""


def read_config(path: Path) -> dict[str, Any]:
    """Read the settings in a file, by field name.

    Raises:
        ConfigError: the file cannot be read, is not TOML, or has an unknown table or
            key; the nearest known name is suggested.
    """
    try:
        text = read_limited(path, _MOST_BYTES).decode()
        if any(line.count(".") > _MOST_DOTS for line in text.splitlines()):
            raise ConfigError(
                f"--config {path}: a line has more than {_MOST_DOTS} dots"
            )
        tables = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"--config {path}: {error.strerror or error}") from error
    except RecursionError as error:
        raise ConfigError(
            f"--config {path}: not a TOML file: nested too deeply"
        ) from error
    except ValueError as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(
            f"--config {path}: not a TOML file: {shortened(str(error))}"
        ) from error
    values: dict[str, Any] = {}
    for table, entries in tables.items():
        if table not in RUN_SETTINGS or not isinstance(entries, dict):
            raise ConfigError(_unknown(path, f"[{table}]", table, list(RUN_SETTINGS)))
        known = {_key(bound): bound for bound in settings_of(RUN_SETTINGS[table])}
        for key, value in entries.items():
            if key not in known:
                raise ConfigError(_unknown(path, f"{table}.{key}", key, list(known)))
            values[known[key].name] = _typed(path, known[key], value)
    return values


def write_config(config: RunConfig) -> str:
    """Render all settings as TOML; those without a value are left out."""
    parts = [HEADER]
    for table, cls in RUN_SETTINGS.items():
        parts.append(f"\n[{table}]\n")
        for bound in settings_of(cls):
            value = getattr(getattr(config, table), bound.name)
            if value is not None:
                parts.append(f"{_key(bound)} = {_toml(value)}\n")
    return "".join(parts)


def _key(bound: BoundSetting) -> str:
    return bound.flag.removeprefix("--")


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    return "".join(map(_escaped, json.dumps(str(value), ensure_ascii=False)))


def _escaped(char: str) -> str:
    """Write what cannot be seen as TOML does, which for U+007F is unlike JSON."""
    if char.isprintable():
        return char
    return f"\\u{ord(char):04x}" if ord(char) < 1 << 16 else f"\\U{ord(char):08x}"


def _typed(path: Path, bound: BoundSetting, value: Any) -> Any:
    """Check the value's type; ranges and choices are checked where it is used."""
    items = value if bound.multiple else [value]
    if not isinstance(items, list):
        raise ConfigError(f"--config {path}: {_key(bound)} needs a list")
    wanted: tuple[type, ...] = (str,)
    if bound.kind in (int, float, bool):
        wanted = (int, float) if bound.kind is float else (bound.kind,)
    for item in items:
        if not isinstance(item, wanted) or (
            isinstance(item, bool) and bound.kind is not bool
        ):
            raise ConfigError(
                f"--config {path}: {_key(bound)} = {shortened(repr(item))} is "
                f"not of type {wanted[0].__name__}"
            )
    if bound.kind is float:
        try:
            items = [float(item) for item in items]
        except OverflowError:
            text = f"--config {path}: {_key(bound)}: the number is too large"
            raise ConfigError(text) from None
    return tuple(items) if bound.multiple else items[0]


def _unknown(path: Path, shown: str, name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name[:100], known, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"--config {path}: unknown setting {shortened(shown)}.{hint}"
