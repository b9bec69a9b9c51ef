"""Text on the terminal: tables, warnings and progress.

Results go to stdout, progress and warnings to stderr. Away from a terminal everything
is plain lines.
"""

import contextlib
import io
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Self, cast

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from maou.errors import MaouError
from maou.text import printable


class _Stream(io.TextIOBase):
    """Standard output or error, as it is when something is written.

    Where error goes no more, as the terminal was closed or the next program of a pipe
    has ended, what is written there is dropped: no work is lost for want of readers.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def _now(self) -> Any:
        found = getattr(sys, self._name)
        return getattr(found, "rich_proxied_file", found)  # while there is a bar

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return str(self._now.encoding)

    def isatty(self) -> bool:
        return bool(self._now.isatty())

    def fileno(self) -> int:
        return int(self._now.fileno())

    def write(self, text: str) -> int:
        with self._lossy():
            self._now.write(text)
        return len(text)

    def flush(self) -> None:
        with self._lossy():
            self._now.flush()

    @contextlib.contextmanager
    def _lossy(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            # What is still to be written goes nowhere, at the end of the process, too.
            with contextlib.suppress(OSError), Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), self.fileno())
            if self._name == "stdout":
                raise MaouError(
                    f"cannot write to the standard output: {error.strerror or error}"
                ) from error


OUT = Console(
    file=cast("IO[str]", _Stream("stdout")),
    highlight=False,
    soft_wrap=not sys.stdout.isatty(),
)
ERR = Console(
    file=cast("IO[str]", _Stream("stderr")),
    stderr=True,
    highlight=False,
    soft_wrap=not sys.stderr.isatty(),
)


def say(text: str) -> None:
    """Print a result line to stdout."""
    OUT.print(printable(text), markup=False)


def say_json(text: str) -> None:
    """Print a JSON document to stdout; its strings are escaped already."""
    OUT.print(text, markup=False, soft_wrap=True)


def note(text: str) -> None:
    """Print a progress line to stderr."""
    ERR.print(printable(text), markup=False)


def warn(text: str) -> None:
    """Print a warning to stderr."""
    ERR.print(
        Text(f"Warning: {printable(text)}", style="yellow")
    )  # style= would dye a bar too


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], title: str) -> None:
    """Print a table to stdout: the first column is text, the others are numbers."""
    grid = Table(title=_cell(title), title_justify="left")
    for i, heading in enumerate(headings):
        grid.add_column(_cell(heading), justify="left" if i == 0 else "right")
    for row in rows:
        grid.add_row(*map(_cell, row))
    OUT.print(grid)


def _cell(text: str) -> Text:
    """Take text as it is: brackets in a name are no markup."""
    return Text(printable(text))


@contextlib.contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Turn what the system says against writing into one message.

    Raises:
        MaouError: the disk is full, or the folder cannot be written to.
    """
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise MaouError(
            f"cannot write to {folder}: {error.strerror or error}{where}; run the same "
            "command again to go on"
        ) from error


def duration(seconds: float) -> str:
    """Render a time as h:mm:ss, or m:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Bar:
    """A bar at the bottom of the terminal, below what is printed; shown when updated.

    Leaving the context takes it away. No thread draws it: it changes when it is told.
    """

    def __init__(self) -> None:
        """Show nothing yet."""
        self.on_terminal = (
            sys.stderr.isatty() and ERR.is_terminal and not ERR.is_dumb_terminal
        )
        self._progress: Progress | None = None
        self._task = TaskID(0)

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Take the bar away, whatever happened."""
        self.clear()

    def update(self, share: float, text: str) -> None:
        """Show how far things are (0 to 1), and some words."""
        if not self.on_terminal:
            return
        if self._progress is None:
            self._progress = Progress(
                BarColumn(bar_width=20),
                TextColumn("{task.percentage:3.0f}%"),
                TextColumn("{task.description}", markup=False),
                console=ERR,
                auto_refresh=False,
                transient=True,
            )
            self._task = self._progress.add_task(text, total=1.0)
            self._progress.start()
        self._progress.update(self._task, completed=share, description=text)
        self._progress.refresh()

    def clear(self) -> None:
        """Take the bar away; the next update shows it again."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


class Progressing(Bar):
    """How far a long conversion is: the bar, or away from a terminal a line at times.

    Both come at intervals, so it may be told often.
    """

    def __init__(self, line_seconds: float = 5.0, bar_seconds: float = 0.2) -> None:
        """Wait for so long before the first line, and between two."""
        super().__init__()
        self._interval = bar_seconds if self.on_terminal else line_seconds
        self._last = time.monotonic()

    def update(self, share: float, text: str) -> None:
        """Show how far things are (0 to 1), and some words, if it is time."""
        if time.monotonic() - self._last < self._interval:
            return
        self._last = time.monotonic()
        if self.on_terminal:
            super().update(share, text)
        else:
            note(f"{share:4.0%}  {text}")
