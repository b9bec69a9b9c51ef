"""Help texts: complete, grouped, and quick because they import nothing heavy."""

import json
import re
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from maou.cli.main import COMMANDS, cli
from maou.cli.options import SettingOption, default_text, setting_options

HEAVY = ("torch", "numba", "pyarrow", "google", "boto3", "onnxruntime", "tensorboard")


def loaded_modules(*arguments: str) -> set[str]:
    """Run the command line in a fresh interpreter; list the packages it imported."""
    code = (
        "import json, sys\n"
        "from maou.cli.main import run\n"
        f"code = run({list(arguments)!r})\n"
        "names = sorted({name.split('.')[0] for name in sys.modules})\n"
        "print('\\n' + json.dumps([code, names]))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    code_and_names = json.loads(ended.stdout.splitlines()[-1])
    assert code_and_names[0] == 0
    return set(code_and_names[1])


def _leaves(group: click.Group, words: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """List the commands that do something, each as the words that call it."""
    context, found = click.Context(group), []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            found += _leaves(command, (*words, name))
        else:
            found.append((*words, name))
    return found


LEAVES = _leaves(cli)


def help_of(words: tuple[str, ...]) -> str:
    return CliRunner().invoke(cli, [*words, "--help"], prog_name="maou").output


def squeezed(text: str) -> str:
    """Take out all space: help texts are wrapped, at hyphens too."""
    return "".join(text.split())


def command(words: tuple[str, ...]) -> click.Command:
    found: click.Command = cli
    for word in words:
        assert isinstance(found, click.Group)
        inner = found.get_command(click.Context(found), word)
        assert inner is not None
        found = inner
    return found


def test_help_imports_nothing_heavy() -> None:
    assert not loaded_modules("--help").intersection(HEAVY)


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_a_commands_help_imports_no_torch(words: tuple[str, ...]) -> None:
    heavy = loaded_modules(*words, "--help").intersection(HEAVY)
    assert not heavy & {"torch", "onnxruntime", "tensorboard", "google", "boto3"}


def test_help_lists_every_command_with_its_summary() -> None:
    shown = " ".join(CliRunner().invoke(cli, ["--help"]).output.split())
    for name, (_, summary) in COMMANDS.items():
        assert f"{name} {summary}" in shown


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_every_setting_is_in_the_help_with_its_range_and_default(
    words: tuple[str, ...],
) -> None:
    help_text = help_of(words)
    text = squeezed(help_text)
    options = list(setting_options(command(words)))
    assert options
    for option in options:
        bound = option.bound
        listed = rf"^  {re.escape(bound.flag)}(?![\w-])"
        assert re.search(listed, help_text, re.MULTILINE), bound.flag
        sentence = squeezed(bound.setting.help)
        assert sentence in text, bound.flag
        notes = text[text.index(sentence) + len(sentence) :]
        if default_text(bound):
            assert notes.startswith("["), bound.flag
            within = notes[: notes.index("]")]
            assert f"default:{squeezed(default_text(bound))}" in within
        if bound.setting.range_text():
            assert squeezed(bound.setting.range_text()) in notes[: notes.index("]")]
        if bound.kind is bool:
            assert f"--no-{bound.flag.removeprefix('--')}" in text


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_options_stand_under_the_heading_of_their_group(words: tuple[str, ...]) -> None:
    group = ""
    place: dict[str, str] = {}
    for line in help_of(words).splitlines():
        if line and not line.startswith(" ") and line.endswith(":"):
            group = line.removesuffix(":")
        found = re.match(r"  (--[\w-]+)", line)
        if found:
            place.setdefault(found[1], group)
    for option in setting_options(command(words)):
        assert place[option.bound.flag] == option.bound.setting.group


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_every_option_comes_from_a_setting(words: tuple[str, ...]) -> None:
    others = [p for p in command(words).params if not isinstance(p, SettingOption)]
    assert all(isinstance(param, click.Argument) for param in others)


def test_version() -> None:
    from maou import __version__

    assert __version__ in CliRunner().invoke(cli, ["--version"]).output
