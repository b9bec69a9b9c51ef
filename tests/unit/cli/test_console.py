"""What becomes of a command's words when nobody can read them."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from maou.cli import console
from maou.errors import MaouError


@pytest.fixture
def nowhere(capfd: pytest.CaptureFixture[str]) -> Iterator[TextIO]:
    """A stream into a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        yield stream


def test_progress_that_nobody_reads_is_dropped(nowhere, monkeypatch):
    monkeypatch.setattr("sys.stderr", nowhere)
    for number in range(3):
        console.note(f"step {number}")
    console.warn("too late")
    with console.Progressing(line_seconds=0) as progress:
        progress.update(0.5, "half")


def test_results_that_nobody_reads_are_an_error(nowhere, monkeypatch):
    monkeypatch.setattr("sys.stdout", nowhere)
    with pytest.raises(MaouError, match="cannot write to the standard output: Broken"):
        console.say("a result")


def test_a_full_disk_is_named(capfd, monkeypatch):
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr("sys.stdout", full)
        with pytest.raises(MaouError, match="standard output: No space left on device"):
            console.table(("a", "b"), [("1", "2")], "a table")
