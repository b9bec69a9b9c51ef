"""Text on the terminal: tables, panels and progress lines.

Results go to stdout, progress and warnings to stderr. Away from a terminal everything
is plain lines.
"""

import contextlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from maou.errors import MaouError

OUT = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
ERR = Console(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())


def say(text: str) -> None:
    """Print a result line to stdout."""
    OUT.print(text, markup=False)


def note(text: str) -> None:
    """Print a progress line to stderr."""
    ERR.print(text, markup=False)


def warn(text: str) -> None:
    """Print a warning to stderr."""
    ERR.print(f"Warning: {text}", markup=False, style="yellow")


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], title: str) -> None:
    """Print a table to stdout: the first column is text, the others are numbers."""
    grid = Table(title=title, title_justify="left")
    for i, heading in enumerate(headings):
        grid.add_column(heading, justify="left" if i == 0 else "right")
    for row in rows:
        grid.add_row(*row)
    OUT.print(grid)


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
