"""Options to configurations, and errors to one line and an exit code."""

import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from maou.cli.main import main, run
from maou.cli.options import GroupedCommand, build, options_from
from maou.errors import ConfigError
from maou.settings import REQUIRED, Settings, setting


@dataclass(frozen=True)
class Example(Settings):
    """One setting of every kind."""

    path: Path = setting(REQUIRED, "A path.", "A", metavar="PATH")
    count: int = setting(3, "A count.", "A", minimum=1)
    rate: float = setting(0.1, "A rate.", "B", flag="--learning-ratio", above=0)
    kind: str = setting("one", "A kind.", "B", choices=("one", "Two+Three"))
    names: tuple[str, ...] = setting((), "Names.", "B")
    on: bool = setting(True, "A switch.", "B")
    maybe: bool | None = setting(None, "Perhaps.", "B", shown_default="it depends")


def parse(*arguments: str) -> Result:
    made: list[Example] = []

    @options_from(Example)
    @click.command(cls=GroupedCommand)
    def command(**values: Any) -> None:
        made.append(build(Example, values))

    result = CliRunner().invoke(command, list(arguments), standalone_mode=False)
    if made:
        result.return_value = made[0]
    return result


def test_options_not_given_keep_their_defaults() -> None:
    assert parse("--path", "x").return_value == Example(Path("x"))


def test_options_given_are_converted() -> None:
    result = parse(
        *("--path", "x", "--count", "5", "--learning-ratio", "1e-3"),
        *("--kind", "two three", "--names", "a", "--names", "b"),
        *("--no-on", "--maybe"),
    )
    assert result.return_value == Example(
        Path("x"), 5, 0.001, "Two+Three", ("a", "b"), on=False, maybe=True
    )
    assert parse("--path", "x", "--no-maybe").return_value.maybe is False


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ((), ConfigError, "--path: is required"),
        (("--path", "x", "--count", "0"), ConfigError, "--count: 0 is out of range"),
        (("--path", "x", "--count", "1.5"), click.BadParameter, "not a valid integer"),
        (("--path", "x", "--learning-ratio", "nan"), ConfigError, "not a finite"),
        (("--path", "x", "--learning-ratio", "inf"), ConfigError, "not a finite"),
        (("--path", "x", "--kind", "tow three"), click.UsageError, "Did you mean Two"),
        (("--path", "x", "--rate", "1"), click.NoSuchOption, "--rate"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    arguments: tuple[str, ...], kind: type[Exception], message: str
) -> None:
    result = parse(*arguments)
    assert isinstance(result.exception, kind)
    shown = (
        result.exception.format_message()
        if isinstance(result.exception, click.ClickException)
        else str(result.exception)
    )
    assert message in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["learn-model"], "--input-path"),
        (["no-such-command"], "no-such-command"),
        (["learn-model", "--no-such-flag"], "--no-such-flag"),
        (["learn-model", "--input-path", "x", "--batch-size", "0"], "--batch-size: 0"),
        (["learn-model", "--input-path", "x", "--optimizer", "adam"], "adamw"),
        (["learn-model", "--input-path", "/no/such/folder"], "/no/such/folder"),
        (["evaluate", "--model", "x", "--input-path", "y", "--split", "al"], "all"),
    ],
)
def test_usage_errors_exit_with_2_and_one_message(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert sum(line.startswith("Error: ") for line in shown.err.splitlines()) == 1
    assert "Traceback" not in shown.err
    assert shown.out == ""


def test_main_exits_with_the_code_of_the_run() -> None:
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as caught:
            main(["learn-model"])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert caught.value.code == 2


def test_a_traceback_is_shown_on_request_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["learn-model", "--input-path", "/no/such/folder"]
    monkeypatch.setenv("MAOU_TRACEBACK", "1")
    assert run(arguments) == 2
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.setenv("MAOU_TRACEBACK", "0")
    assert run(arguments) == 2
    assert "Traceback" not in capsys.readouterr().err
