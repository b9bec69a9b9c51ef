"""The `maou` command: finds the subcommand, and turns errors into exit codes.

Exit codes: 0 success, 1 a run that failed, 2 a usage or input error, 130 and 143
after SIGINT and SIGTERM, 129 after SIGHUP while training. Errors are one message on
stderr; `MAOU_TRACEBACK=1` adds the traceback.
"""

import contextlib
import os
import re
import signal
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from maou import __version__
from maou.cli.lazy import LazyGroup
from maou.errors import Interrupted, MaouError
from maou.text import printable

COMMANDS = {
    "learn-model": ("maou.cli.learn_model", "Train a network on game records."),
    "hcpe-convert": (
        "maou.cli.hcpe_convert",
        "Convert CSA, KIF and KI2 games to hcpe training records.",
    ),
    "pre-process": (
        "maou.cli.pre_process",
        "Aggregate hcpe records to distinct positions, split for training.",
    ),
    "evaluate": (
        "maou.cli.evaluate",
        "Measure a checkpoint or ONNX model on game records.",
    ),
    "utility": ("maou.cli.utility", "Make special data, measure speed, check data."),
}
"""Name to (module with `command`, short help). The module is imported when used."""


@click.group(
    cls=LazyGroup,
    commands_by_name=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="maou")
def cli() -> None:
    """Train policy/value networks for shogi from game records.

    Run `maou COMMAND --help` for a command's options.
    """


def _terminate(signum: int, frame: FrameType | None) -> None:
    raise Interrupted(signum)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    signal.signal(signal.SIGTERM, _terminate)
    code = run(arguments)
    if code > 128:
        _end_at_once(code)
    sys.exit(code)


def _end_at_once(code: int) -> NoReturn:
    """Leave after a signal: end all processes below, and tear nothing else down.

    An orderly end would have loader threads complain of workers that are gone, and
    processes that compile, when they are only starting, of a parent that is.
    """
    for number in list(_descendants(os.getpid())):
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code)


def _descendants(number: int) -> Iterator[int]:
    """Find the processes that one has started, and those that they have."""
    for listed in Path(f"/proc/{number}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            for child in map(int, listed.read_text().split()):
                yield child
                yield from _descendants(child)


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code; errors go to stderr."""
    try:
        result = cli.main(arguments, prog_name="maou", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
        if code > 128:
            _tell("Ended at once.")
        return code
    except (click.Abort, KeyboardInterrupt):
        _tell("Interrupted.")
        return 128 + signal.SIGINT
    except Interrupted as error:
        _tell(_shown(str(error)))
        return error.exit_code
    except MaouError as error:
        _report(error, str(error))
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - the last resort: never a traceback
        text = f"{type(error).__name__}: {error}" if str(error) else repr(error)
        hint = "" if _wants_traceback() else " (MAOU_TRACEBACK=1 shows where)"
        _report(error, f"unexpected {text}{hint}")
        return 1
    return result if isinstance(result, int) else 0


def _wants_traceback() -> bool:
    return os.environ.get("MAOU_TRACEBACK", "") not in {"", "0"}


def _report(error: BaseException, message: str) -> None:
    if _wants_traceback():
        traceback.print_exception(error)
    _tell(f"Error: {_shown(message)}")


def _tell(text: str) -> None:
    """Print to stderr, if anybody can read it."""
    with contextlib.suppress(OSError):
        click.echo(text, err=True)


def _shown(message: str) -> str:
    """Escape what a name in a message could do to a terminal.

    Lines that follow the first are indented, as a command to copy is; no name can
    begin a line of its own.
    """
    shown = printable(message, keep="\n")
    return re.sub(r"\n(?!  )", r"\\n", shown)
