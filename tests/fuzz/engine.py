"""Readers against damaged files: only our own errors may come out, and nothing else.

Cases run in a forked process with bounded memory and a time limit for each, so that a
reader that crashes the interpreter, eats the memory or never ends is a finding like any
other. A case is known by its target and its seed.
"""

import mmap
import os
import re
import resource
import shutil
import signal
import struct
import tempfile
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import hypothesis
from hypothesis import strategies as st

from fuzz.mutations import Mutation, mutated
from maou.errors import MaouError

MOST_BYTES = 1 << 22
MOST_MESSAGE = 20_000
SECONDS = 60
"""A case may take so long, on a machine that does other things too."""

EXTRA_MEMORY = 2 << 30
"""What a process may take beyond what it has when the cases begin."""


@dataclass(frozen=True)
class Target:
    """A reader, and how to damage what it reads.

    Attributes:
        name: what the target is called.
        seeds: makes sound files.
        read: writes a file's bytes into an empty folder and reads it as users do.
        mutations: those that know the structure.
    """

    name: str
    seeds: Callable[[], Sequence[bytes]]
    read: Callable[[bytes, Path], object]
    mutations: tuple[Mutation, ...] = ()


def damaged(target: Target, seed: int, corpus: Sequence[bytes] = ()) -> bytes:
    """Make the file of a case."""
    random = Random(f"{target.name} {seed}")
    sound = (*target.seeds(), *corpus)
    data = mutated(random.choice(sound), sound, target.mutations, random)
    return data[:MOST_BYTES]


def outcome(target: Target, data: bytes, folder: Path) -> str:
    """Read a file; tell that it was read, or the kind of refusal.

    Raises:
        Exception: anything but our own errors; that is a finding.
    """
    place = _emptied(folder / "case")
    try:
        target.read(data, place)
    except MaouError as error:
        text = str(error)
        assert len(text) <= MOST_MESSAGE, f"a message of {len(text)} characters"
        return f"{type(error).__name__}: {_kind(text.replace(str(folder), ''))}"
    return "read"


def _emptied(folder: Path) -> Path:
    """Make an empty folder; the same one each time, since removing it is slow."""
    folder.mkdir(exist_ok=True)
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    return folder


def _kind(message: str) -> str:
    """Leave out of a message what differs from case to case."""
    return re.sub(r"'[^']*'|\d+|[^\x20-\x7e]+", "#", message)[:120]


class Board:
    """What a child tells of itself, in memory that both processes see."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 16)

    def write(self, tried: int, seed: int) -> None:
        """Note how many cases were begun, and the last of them."""
        self._memory[:] = struct.pack("<QQ", tried, seed)

    def read(self) -> tuple[int, int]:
        """Return what was noted."""
        tried, seed = struct.unpack("<QQ", self._memory[:])
        return tried, seed


class FindingError(AssertionError):
    """Something other than success or one of our errors came out."""


def in_child(work: Callable[[], object]) -> None:
    """Run something in a forked process with bounded memory.

    Raises:
        FindingError: it raised, or the process did not live through it.
    """
    with tempfile.TemporaryFile() as report:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                bound_memory()
                work()
                code = 0
            except BaseException:  # noqa: BLE001 - told to the parent
                report.write(traceback.format_exc()[-20_000:].encode(errors="replace"))
                report.flush()
            finally:
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        report.seek(0)
        text = report.read().decode()
    if os.WIFSIGNALED(status):
        raise FindingError(
            f"the process died of {signal.Signals(os.WTERMSIG(status)).name}"
        )
    if os.WEXITSTATUS(status):
        raise FindingError(text)


def bound_memory(extra: int = EXTRA_MEMORY) -> None:
    """Let this process take only so much more memory than it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + extra
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def check(target: Target, cases: int, folder: Path) -> int:
    """Try cases of a target, as hypothesis draws them; return how many.

    Raises:
        FindingError: the message names the seed, which `damaged` makes the file of.
    """
    for number, data in enumerate(target.seeds()):  # warm, and sound
        assert outcome(target, data, folder) == "read", (target.name, number)
    board = Board()
    tried = 0

    @hypothesis.settings(max_examples=cases, database=None)
    @hypothesis.given(st.integers(0, 2**48))
    def one(seed: int) -> None:
        nonlocal tried
        tried += 1
        board.write(tried, seed)
        signal.alarm(SECONDS)
        outcome(target, damaged(target, seed), folder)
        signal.alarm(0)

    try:
        in_child(one)
    except FindingError as finding:
        tried, seed = board.read()
        raise FindingError(
            f"{target.name}, seed {seed} (case {tried}): {finding}"
        ) from None
    return board.read()[0]
