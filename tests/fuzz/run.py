"""Damaged files for as long as you like: `make fuzz`.

Goes round all targets with fresh seeds, in processes that are expected to live. A file
that brings out a new kind of answer is kept, to be damaged further. What is found lies
in `.fuzz/found`, and the command fails.

`make fuzz FUZZ_SECONDS=60 FUZZ=onnx` tries one target for a minute.
"""

import argparse
import hashlib
import mmap
import secrets
import signal
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import hypothesis
from hypothesis import strategies as st

from fuzz.engine import (
    MOST_BYTES,
    SECONDS,
    FindingError,
    Target,
    damaged,
    in_child,
    outcome,
)
from fuzz.game_targets import GAMES, SETTINGS
from fuzz.model_targets import MODELS
from fuzz.shard_targets import SHARDS

TARGETS = (*SHARDS, *GAMES, *SETTINGS, *MODELS)

_CASES = 400  # in a process
_KEPT = 300  # files of a target's corpus
_MOST_KEPT_BYTES = 1 << 17


class Case:
    """The case in progress, in memory that parent and child see."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, MOST_BYTES + 16)

    def begin(self, tried: int, data: bytes) -> None:
        """Note a case before it is read."""
        self._memory[:16] = struct.pack("<QQ", tried, len(data))
        self._memory[16 : 16 + len(data)] = data

    def last(self) -> tuple[int, bytes]:
        """Return how many cases were begun, and the last one's file."""
        tried, size = struct.unpack("<QQ", self._memory[:16])
        return tried, self._memory[16 : 16 + size]


class Corpus:
    """Files that brought out new kinds of answers."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder

    def files(self) -> list[bytes]:
        """Read them."""
        return [path.read_bytes() for path in sorted(self._folder.iterdir())]

    def add(self, answer: str, data: bytes) -> None:
        """Keep a file if its answer is new."""
        name = hashlib.sha256(answer.encode()).hexdigest()[:16]
        path = self._folder / name
        full = len(list(self._folder.iterdir())) >= _KEPT
        if not (path.exists() or full or len(data) > _MOST_KEPT_BYTES):
            path.write_bytes(data)


def some_cases(target: Target, corpus: Corpus, case: Case, work: Path) -> None:
    """Try some cases in a process of their own.

    Raises:
        FindingError: the last case of `case` is one.
    """
    files = corpus.files()
    tried = 0
    stop = time.monotonic() + 20
    case.begin(0, b"")

    @hypothesis.settings(
        max_examples=_CASES,
        database=None,
        deadline=None,
        derandomize=False,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.seed(secrets.randbits(64))
    @hypothesis.given(st.integers(0, 2**63))
    def one(seed: int) -> None:
        nonlocal tried
        if time.monotonic() > stop:
            return
        data = damaged(target, seed, files)
        tried += 1
        case.begin(tried, data)
        signal.alarm(SECONDS)
        answer = outcome(target, data, work)
        signal.alarm(0)
        corpus.add(answer, data)

    in_child(one)


def fuzz(targets: Sequence[Target], seconds: float, folder: Path) -> int:
    """Go round the targets until the time is over; return the number of findings."""
    tried: Counter[str] = Counter()
    found: dict[str, Path] = {}
    case = Case()
    end, told = time.monotonic() + seconds, time.monotonic()
    with tempfile.TemporaryDirectory() as work:
        while time.monotonic() < end:
            for target in targets:
                if time.monotonic() > end:
                    break
                corpus = Corpus(folder / "corpus" / target.name)
                try:
                    some_cases(target, corpus, case, Path(work))
                except FindingError as finding:
                    _keep(folder / "found", target, case, str(finding), found)
                tried[target.name] += case.last()[0]
                if time.monotonic() - told > 60:
                    told = time.monotonic()
                    left = f"{max(0, end - told):.0f} s left"
                    print(f"{tried.total():,} cases, {len(found)} found, {left}")
                    sys.stdout.flush()
    for target in targets:
        print(f"{tried[target.name]:>9,}  {target.name}")
    print(f"{tried.total():>9,}  in all, {len(found)} found")
    for path in found.values():
        print(f"found: {path}")
    return len(found)


def _keep(
    folder: Path, target: Target, case: Case, text: str, found: dict[str, Path]
) -> None:
    """Keep a finding's file and what came of it, once a kind."""
    folder.mkdir(parents=True, exist_ok=True)
    kind = f"{target.name} {text.strip().splitlines()[-1]}"
    if kind in found:
        return
    data = case.last()[1]
    name = f"{target.name} {hashlib.sha256(data).hexdigest()[:12]}".replace(" ", "-")
    path = folder / name
    path.write_bytes(data)
    path.with_name(f"{name}.txt").write_text(text)
    found[kind] = path
    print(f"found: {target.name}: {text[-600:]}\n  {path}")


def main() -> None:
    """Fuzz as the environment says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument(
        "--target", default="", choices=["", *(t.name for t in TARGETS)]
    )
    parser.add_argument("--folder", type=Path, default=Path(".fuzz"))
    options = parser.parse_args()
    chosen = [t for t in TARGETS if options.target in ("", t.name)]
    sys.exit(1 if fuzz(chosen, options.seconds, options.folder) else 0)


if __name__ == "__main__":
    main()
