"""Command-line options made from the settings of configuration dataclasses."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from maou.config import RUN_SETTINGS, RunConfig
from maou.errors import ConfigError
from maou.settings import BoundSetting, Settings, choose, settings_of

C = TypeVar("C", bound=Settings)


class Choice(click.ParamType[str]):
    """A choice that ignores case and punctuation and suggests the nearest name."""

    name = "choice"

    def __init__(self, flag: str, choices: tuple[str, ...]) -> None:
        """Remember the flag for the error message."""
        self.flag = flag
        self.choices = choices

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Return the canonical spelling."""
        try:
            return choose(self.flag, str(value), self.choices)
        except ConfigError as error:
            raise click.UsageError(str(error), ctx) from error

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """Show the choices as `{a|b}`."""
        return "{" + "|".join(self.choices) + "}"


class SettingOption(click.Option):
    """An option that knows its setting, for grouped help and documentation."""

    def __init__(self, bound: BoundSetting) -> None:
        """Build the click option that says what the setting says."""
        self.bound = bound
        declaration = bound.flag
        if bound.kind is bool:
            declaration = f"{bound.flag}/--no-{bound.flag.removeprefix('--')}"
        super().__init__(
            [declaration, bound.name],
            type=_click_type(bound),
            multiple=bound.multiple,
            default=None,
            help=help_text(bound),
            metavar=bound.setting.metavar,
        )


def _click_type(bound: BoundSetting) -> Any:
    if bound.setting.choices:
        return Choice(bound.flag, bound.setting.choices)
    if bound.kind is Path:
        return click.Path(path_type=Path)
    return bound.kind


def help_text(bound: BoundSetting) -> str:
    """Return the option's help: its sentence, its range and its default."""
    notes = []
    if bound.setting.range_text():
        notes.append(bound.setting.range_text())
    default = default_text(bound)
    if bound.required:
        notes.append("required")
    if default:
        notes.append(f"default: {default}")
    if bound.multiple:
        notes.append("repeatable")
    return bound.setting.help + (f"  [{'; '.join(notes)}]" if notes else "")


def default_text(bound: BoundSetting) -> str:
    """Return the default as a user would type it; empty when there is none."""
    if bound.setting.shown_default is not None:
        return bound.setting.shown_default
    if bound.required or bound.default is None or bound.default == ():
        return ""
    if isinstance(bound.default, bool):
        return "on" if bound.default else "off"
    if bound.multiple:
        return ", ".join(str(item) for item in bound.default)
    return str(bound.default)


class GroupedCommand(click.Command):
    """A command whose help lists its options under the headings of their groups."""

    def format_options(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """Write one section a group, in the order in which the groups first occur."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is None:
                continue
            group = "Other"
            if isinstance(param, SettingOption):
                group = param.bound.setting.group
            sections.setdefault(group, []).append(record)
        for title, rows in sections.items():
            with formatter.section(title):
                formatter.write_dl(rows)


def options_from(
    *classes: type[Settings], only: tuple[str, ...] | None = None
) -> Callable[[Any], Any]:
    """Decorate a click command with the options of configuration classes.

    Args:
        *classes: the classes, in the order in which help lists them.
        only: the fields to make options of; all when None.
    """

    def decorate(command: click.Command) -> click.Command:
        made = [
            SettingOption(bound)
            for cls in classes
            for bound in settings_of(cls)
            if only is None or bound.name in only
        ]
        command.params = [*made, *command.params]
        return command

    return cast("Callable[[Any], Any]", decorate)


def build(cls: type[C], values: dict[str, Any]) -> C:
    """Make a configuration from parsed options; options not given keep defaults.

    Raises:
        ConfigError: a value is missing, out of range or contradicts another.
    """
    names = {item.name for item in dataclasses.fields(cast("Any", cls))}
    given = {
        name: value
        for name, value in values.items()
        if name in names and value is not None and value != ()
    }
    for bound in settings_of(cls):
        if bound.required and bound.name not in given:
            raise ConfigError(f"{bound.flag}: is required; {bound.setting.help}")
    return cls(**given)


def build_run(values: dict[str, Any]) -> RunConfig:
    """Make the configuration of a training run from parsed options.

    Raises:
        ConfigError: as `build` does.
    """
    parts: dict[str, Any] = {
        name: build(cls, values) for name, cls in RUN_SETTINGS.items()
    }
    return RunConfig(**parts)


def setting_options(command: click.Command) -> Iterator[SettingOption]:
    """Yield the options of a command that come from settings."""
    for param in command.params:
        if isinstance(param, SettingOption):
            yield param
