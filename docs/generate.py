"""Write the flag tables of docs/ from the settings themselves.

A page holds `<!-- flags: COMMAND -->` and `<!-- end -->`; what is between them is
rewritten. With `--check` nothing is written, and a stale page is an error.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from maou.cli.main import cli
from maou.cli.options import SettingOption, default_text, setting_options

PAGES = Path(__file__).resolve().parent


def flag_tables(command: click.Command) -> str:
    """Render the options of a command, one table a group."""
    groups: dict[str, list[SettingOption]] = {}
    for option in setting_options(command):
        groups.setdefault(option.bound.setting.group, []).append(option)
    parts = []
    for group, options in groups.items():
        rows = [_row(option) for option in options]
        head = [
            "| flag | default | allowed | what it does |",
            "| --- | --- | --- | --- |",
        ]
        parts.append("\n".join([f"### {group}", "", *head, *rows]))
    return "\n\n".join(parts)


def _row(option: SettingOption) -> str:
    bound = option.bound
    flag = f"`{bound.flag}`"
    if bound.kind is bool:
        flag += f", `--no-{bound.flag.removeprefix('--')}`"
    default = "required" if bound.required else default_text(bound)
    allowed = ", ".join(f"`{choice}`" for choice in bound.setting.choices)
    allowed = allowed or bound.setting.range_text()
    if bound.multiple:
        allowed = f"{allowed}; repeatable".removeprefix("; ")
    return f"| {flag} | {default} | {allowed} | {bound.setting.help} |"


def updated(text: str, name: str, command: click.Command) -> str:
    """Return a page's text with its flag tables up to date."""
    start, end = f"<!-- flags: {name} -->", "<!-- end -->"
    before, found, rest = text.partition(start)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"docs/{name}.md: has no {start} ... {end}")
    return f"{before}{start}\n{flag_tables(command)}\n{end}{after}"


def commands_of(
    group: click.Group, prefix: str = ""
) -> Iterator[tuple[str, click.Command]]:
    """Yield every command with the name of its page, such as `utility-check-data`."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands_of(command, f"{prefix}{name}-")
        else:
            yield f"{prefix}{name}", command


def main() -> None:
    """Rewrite, or check, the page of every command."""
    stale = []
    for name, command in commands_of(cli):
        page = PAGES / f"{name}.md"
        text = page.read_text()
        new = updated(text, name, command)
        if new != text:
            stale.append(page.name)
            if "--check" not in sys.argv:
                page.write_text(new)
    if stale and "--check" in sys.argv:
        raise SystemExit(f"stale: {', '.join(stale)}; run `make docs`")


if __name__ == "__main__":
    main()
