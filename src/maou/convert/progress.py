"""What a conversion has finished, on disk, so that it can go on after a crash.

The progress file is replaced whole after each shard. What it names is finished and on
disk; everything after its cursor is done again.
"""

import contextlib
import dataclasses
import fcntl
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from maou.convert.state_fields import counts, shards, whole
from maou.errors import ConfigError, DataError
from maou.files import atomic_write
from maou.reading import read_json
from maou.text import shortened

T = TypeVar("T")

PROGRESS_FILE = "hcpe-convert.json"
REPORT_FILE = "rejects.tsv"
REPORT_HEAD = b"file\tgame\tply\treason\n"

_VERSION = 1
"""Raised when rows, ids or cuts change, so that one folder never mixes two."""


@dataclass(frozen=True)
class Cursor:
    """The first game that is not finished.

    Attributes:
        task: its task.
        games: games of that task that are finished.
        file: the file of the last finished game (-1 before the first).
        number: that game's number in its file, from 1.
    """

    task: int = 0
    games: int = 0
    file: int = -1
    number: int = 0


@dataclass
class Progress:
    """All that is finished, and what it was made from.

    Attributes:
        settings: every setting that the output depends on.
        inputs: number of files, their bytes and their digest.
        cursor: where to go on.
        converted: games that gave rows.
        rejected: number of rejected games by kind of reason.
        filtered: number of dropped games by flag.
        positions: rows in the shards.
        shards: name, rows and bytes of each shard.
        report_bytes: length of the finished part of the report.
        complete: whether nothing is left to do.
    """

    settings: dict[str, Any]
    inputs: dict[str, Any]
    cursor: Cursor = field(default_factory=Cursor)
    converted: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    filtered: dict[str, int] = field(default_factory=dict)
    positions: int = 0
    shards: list[dict[str, Any]] = field(default_factory=list)
    report_bytes: int = len(REPORT_HEAD)
    complete: bool = False

    @property
    def games(self) -> int:
        """Games read, whatever became of them."""
        lost = sum(self.rejected.values()) + sum(self.filtered.values())
        return self.converted + lost

    def snapshot(self) -> "Progress":
        """Copy everything that changes."""
        return dataclasses.replace(
            self,
            rejected=dict(self.rejected),
            filtered=dict(self.filtered),
            shards=list(self.shards),
        )

    def save(self, folder: Path) -> None:
        """Replace the progress file."""
        text = json.dumps({"version": _VERSION, **dataclasses.asdict(self)}, indent=1)
        with atomic_write(folder / PROGRESS_FILE) as stream:
            stream.write(text.encode() + b"\n")


def load_progress(folder: Path) -> Progress | None:
    """Read the progress file of an output folder; None when there is none.

    Raises:
        DataError: the file is damaged or was written by another version of maou.
    """

    return load_state(folder / PROGRESS_FILE, _VERSION, _progress)


def _progress(plain: dict[str, Any]) -> Progress:
    """Make the progress of a file's fields.

    Raises:
        ValueError, TypeError, KeyError: they are not what `Progress.save` writes.
    """
    cursor = Cursor(**plain.pop("cursor"))
    found = Progress(**plain, cursor=cursor)
    for number in (found.converted, found.positions, found.report_bytes):
        whole(number)
    for number in dataclasses.astuple(cursor):
        whole(number, least=-1)
    for number in (cursor.task, cursor.games, found.inputs["files"]):
        whole(number)
    counts(found.rejected), counts(found.filtered)
    shards(found.shards, "rows")
    if not isinstance(found.settings, dict) or not isinstance(found.complete, bool):
        raise ValueError("its settings are missing")  # noqa: TRY004
    return found


def load_state(
    path: Path, version: int, made: Callable[[dict[str, Any]], T]
) -> T | None:
    """Read what an earlier run left in its output folder; None when there is nothing.

    Args:
        path: a JSON object with `version` beside the fields.
        version: the version that this program writes.
        made: makes the state of the other fields.

    Raises:
        DataError: the file is damaged or was written by another version of maou.
    """
    try:
        plain = read_json(path)
        if plain.pop("version") != version:
            raise DataError(
                f"{path}: written by another version of maou; convert into another "
                "--output-dir, or remove this folder to convert anew"
            )
        return made(plain)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{path}: damaged ({shortened(str(error))}); remove the folder to convert "
            "anew"
        ) from error


def require_same_work(found: Progress, wanted: Progress, folder: Path) -> None:
    """Refuse to go on with a conversion of other files or with other settings.

    Raises:
        ConfigError: something that the output depends on has changed.
    """
    changed = changed_settings(found.settings, wanted.settings)
    if found.inputs != wanted.inputs:
        before, now = found.inputs["files"], wanted.inputs["files"]
        changed.append(
            f"the game files have changed ({before} files then, {now} now)"
            if before != now
            else "game files were written to or renamed"
        )
    refuse_changes(changed, folder)


def changed_settings(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Say which settings an earlier run had otherwise."""
    return [
        f"--{name.replace('_', '-')} was {_shown(found.get(name))} and is now "
        f"{_shown(value)}"
        for name, value in wanted.items()
        if found.get(name) != value
    ]


def refuse_changes(changed: list[str], folder: Path) -> None:
    """Refuse to go on with other work than the folder holds.

    Raises:
        ConfigError: there are changes.
    """
    if changed:
        raise ConfigError(
            f"--output-dir: {folder} holds a conversion that differs from this one: "
            f"{'; '.join(changed)}. Give another --output-dir, or remove that folder "
            "to convert anew"
        )


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return shortened(", ".join(map(str, value))) or "not given"
    return "not given" if value is None else shortened(str(value))


def require_shards(found: Progress, folder: Path) -> None:
    """Refuse to go on when a finished shard or the report has been tampered with.

    Raises:
        DataError: a file is missing or has another size than when it was finished.
    """
    require_sizes(found.shards, folder)
    report = folder / REPORT_FILE
    if (
        report.is_symlink()
        or not report.is_file()
        or report.stat().st_size < found.report_bytes
    ):
        raise DataError(f"{report}: missing or cut; remove the folder to convert anew")


def require_sizes(written: list[dict[str, Any]], folder: Path) -> None:
    """Refuse a folder in which a finished shard is missing or has another size.

    Raises:
        DataError: it does.
    """
    for shard in written:
        path = folder / shard["name"]
        if (
            path.is_symlink()
            or not path.is_file()
            or path.stat().st_size != shard["bytes"]
        ):
            raise DataError(
                f"{path}: missing or changed since it was written; remove the folder "
                "to convert anew"
            )


def require_no_links(*paths: Path) -> None:
    """Refuse to write through links, which lead out of the output folder.

    Raises:
        ConfigError: one of the paths is a link.
    """
    for path in paths:
        if path.is_symlink():
            raise ConfigError(
                f"--output-dir: {path} is a symbolic link, and nothing is written "
                "outside of the output folder; remove it"
            )


@contextlib.contextmanager
def sole_use(folder: Path) -> Iterator[None]:
    """Keep a second conversion out of the folder while this one runs."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"--output-dir: another conversion is writing to {folder}"
            ) from None
        except OSError:
            pass  # a file system without locks
        yield
    finally:
        os.close(handle)
