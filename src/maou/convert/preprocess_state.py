"""What a `pre-process` run has finished, on disk, and what it works on."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from maou.convert.config_preprocess import PreProcessConfig
from maou.convert.progress import changed_settings, load_state, refuse_changes
from maou.convert.state_fields import pair, shards
from maou.errors import ConfigError
from maou.files import atomic_write
from maou.settings import as_plain
from maou.text import shortened

STATE_FILE = "pre-process.json"
SIDES = ("train", "validation")
PHASES = ("split", "spill", "merge", "write", "complete")

_VERSION = 1
"""Raised when shards or spilled files change, so that one folder never mixes two."""


@dataclass
class State:
    """How far the work is, and what it was made from.

    Attributes:
        settings: every setting that the output depends on.
        inputs: digests of the shards by flag.
        phase: what is to be done next, one of `PHASES`.
        rows: input rows by side.
        unit: what the split kept whole: `game`, `shard` or `run`.
        warning: what the user must know about the split.
        positions: distinct positions by side.
        moves: distinct (position, move) pairs by side.
        excluded_positions: positions left out for --exclude, by side.
        excluded_rows: their rows, by side.
        shards: name, positions and bytes of each finished shard.
    """

    settings: dict[str, Any]
    inputs: dict[str, str]
    phase: str = PHASES[0]
    rows: list[int] = field(default_factory=lambda: [0, 0])
    unit: str = ""
    warning: str = ""
    positions: list[int] = field(default_factory=lambda: [0, 0])
    moves: list[int] = field(default_factory=lambda: [0, 0])
    excluded_positions: list[int] = field(default_factory=lambda: [0, 0])
    excluded_rows: list[int] = field(default_factory=lambda: [0, 0])
    shards: list[dict[str, Any]] = field(default_factory=list)

    def save(self, folder: Path) -> None:
        """Replace the state file."""
        save_json(
            folder / STATE_FILE, {"version": _VERSION, **dataclasses.asdict(self)}
        )


@dataclass(frozen=True)
class Report:
    """How far the work is, or what came of it.

    Attributes:
        state: what is finished.
        phase: what is being done.
        fraction: share of all work that is done.
        seconds: how long this run has taken.
        resumed: whether an earlier run had done a part.
        worked: whether there was anything left to do.
        threads: how many threads work.
    """

    state: State
    phase: str
    fraction: float
    seconds: float
    resumed: bool
    worked: bool
    threads: int


def save_json(path: Path, plain: dict[str, Any]) -> None:
    """Write a JSON file, all of it or nothing."""
    with atomic_write(path) as stream:
        stream.write(json.dumps(plain, indent=1).encode() + b"\n")


def begin_or_resume(
    config: PreProcessConfig, inputs: dict[str, str]
) -> tuple[State, bool]:
    """Load the state of the output folder, or begin; tell whether it was loaded.

    Raises:
        ConfigError: the folder holds other work, or shards of unknown origin.
        DataError: its state file is damaged.
    """
    plain = as_plain(config)
    keep = ("output_format", "packed", "test_ratio", "seed", "shard_rows")
    wanted = State({name: plain[name] for name in keep}, inputs)
    folder = config.output_dir
    found = load_state(folder / STATE_FILE, _VERSION, _state)
    if found is None:
        for side in SIDES:
            _require_empty(folder / side)
        wanted.save(folder)
        return wanted, False
    changed = changed_settings(found.settings, wanted.settings)
    changed += [
        f"the shards of {flag} have changed"
        for flag in inputs
        if found.inputs.get(flag) != inputs[flag]
    ]
    refuse_changes(changed, folder)
    return found, True


def _state(plain: dict[str, Any]) -> State:
    state = State(**plain)
    if state.phase not in PHASES:
        raise ValueError(f"phase {shortened(repr(state.phase), 40)}")
    sums = (state.rows, state.positions, state.moves)
    for numbers in (*sums, state.excluded_positions, state.excluded_rows):
        pair(numbers)
    shards(state.shards, "positions", tuple(f"{side}/" for side in SIDES))
    for plain_object in (state.settings, state.inputs):
        if not isinstance(plain_object, dict):
            raise ValueError("its settings are missing")  # noqa: TRY004
    for text in (state.unit, state.warning):
        if not isinstance(text, str):
            raise ValueError("its texts are missing")  # noqa: TRY004
    return state


def _require_empty(folder: Path) -> None:
    strangers = sorted(folder.glob("[!.]*"))
    if strangers:
        raise ConfigError(
            f"--output-dir: {folder} holds files such as {strangers[0].name} that this "
            "command did not leave there; give another folder or remove them"
        )


def digest_of(files: Iterable[tuple[str, Path, str]]) -> str:
    """Identify files by name, size, and what changes when they do."""
    digest = hashlib.sha256()
    for name, path, version in files:
        digest.update(os.fsencode(name))
        digest.update(f"\0{path.stat().st_size}\0{version}\n".encode())
    return digest.hexdigest()[:16]
