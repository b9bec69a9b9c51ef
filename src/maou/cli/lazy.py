"""Command groups that import a command only when it is used."""

import importlib
from typing import Any

import click


class LazyGroup(click.Group):
    """A group whose commands live in modules of their own.

    Args:
        commands_by_name: name to (module with `command`, short help).
        **attributes: what a click group takes.
    """

    def __init__(
        self, commands_by_name: dict[str, tuple[str, str]], **attributes: Any
    ) -> None:
        """Remember where the commands are."""
        super().__init__(**attributes)
        self.commands_by_name = commands_by_name

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the commands without importing them."""
        return list(self.commands_by_name)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in self.commands_by_name:
            return None
        module = importlib.import_module(self.commands_by_name[cmd_name][0])
        command: click.Command = module.command
        return command

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """List the commands with their short help."""
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, text) for name, (_, text) in self.commands_by_name.items()]
            )
