"""Reading files that others wrote: regular ones only, no more bytes than are sensible.

A pipe would block for ever, a device never ends, and a link inside a data folder leads
out of it. The same holds for a file that is added to.
"""

import contextlib
import errno
import io
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from maou.errors import DataError

TEXT_BYTES = 16 << 20
"""No settings, state or manifest is longer."""

_NAMED = 5  # files that a message lists


def open_regular(path: Path) -> io.FileIO:
    """Open a regular file for reading, unbuffered; never waits for a pipe's writer.

    Raises:
        OSError: it cannot be opened, or is something else.
    """
    _require_regular(path, path.stat())
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _require_regular(path, os.fstat(handle))  # it may have been replaced
        return io.FileIO(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def open_to_append(path: Path) -> io.FileIO:
    """Open a regular file of ours for reading and appending; it is made if missing.

    Nothing is written through a link, which may lead to somebody else's file.

    Raises:
        OSError: it cannot be opened, or is something else.
    """
    with contextlib.suppress(FileNotFoundError):
        _require_regular(path, path.lstat())
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
    flags |= os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    handle = os.open(path, flags, 0o666)
    try:
        _require_regular(path, os.fstat(handle))
        return io.FileIO(handle, "ab+")
    except BaseException:
        os.close(handle)
        raise


def _require_regular(path: Path, found: os.stat_result) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, "is a folder, not a file", str(path))
    if not stat.S_ISREG(found.st_mode):
        text = f"is {kind_of(found.st_mode)}, not a regular file"
        raise OSError(errno.EINVAL, text, str(path))


def read_limited(path: Path, most: int = TEXT_BYTES) -> bytes:
    """Read a whole file of at most so many bytes.

    Raises:
        OSError: it cannot be read.
        ValueError: it is longer.
    """
    with open_regular(path) as stream:
        parts: list[bytes] = []
        length = 0
        while length <= most:
            part = stream.read(most + 1 - length)
            if not part:
                return b"".join(parts)
            parts.append(part)
            length += len(part)
    raise ValueError(f"is longer than {most} bytes")


def read_json(path: Path, most: int = TEXT_BYTES) -> dict[str, Any]:
    """Read a file that holds one JSON object.

    Raises:
        OSError: it cannot be read.
        ValueError: it is too long, or not a JSON object.
    """
    return json_object(read_limited(path, most))


def json_object(text: str | bytes) -> dict[str, Any]:
    """Parse one JSON object, none of whose keys may come twice.

    Raises:
        ValueError: it is something else.
    """
    try:
        found = json.loads(text, object_pairs_hook=_distinct)
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    if not isinstance(found, dict):
        kind = type(found).__name__
        raise ValueError(f"holds a {kind}, not an object")  # noqa: TRY004
    return found


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("has the same key twice")
    return found


def plain_name(name: object) -> bool:
    """Tell whether a name is that of a file in the folder itself."""
    return (
        isinstance(name, str)
        and name not in ("", ".", "..")
        and "/" not in name
        and "\0" not in name
    )


def kind_of(mode: int) -> str:
    """Say what a file is that is neither regular nor a folder."""
    kinds = {
        stat.S_IFLNK: "a symbolic link",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFBLK: "a device",
        stat.S_IFCHR: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "a special file")


def files_below(folder: Path, where: str) -> list[str]:
    """List the regular files below a folder by their paths in it, with `/`; unsorted.

    Hidden files and folders are left out. The folder itself may be a link.

    Args:
        folder: where to look.
        where: the folder with its flag, for messages.

    Raises:
        DataError: a folder cannot be read, or there are links, pipes, sockets or
            devices; the message names the first of them.
    """
    files: list[str] = []
    odd: list[str] = []
    for name, entry in _entries(folder, where):
        mode = entry.stat(follow_symlinks=False).st_mode
        if stat.S_ISREG(mode):
            files.append(name)
        else:
            odd.append(f"{name} ({kind_of(mode)})")
    if odd:
        shown = ", ".join(sorted(odd)[:_NAMED])
        more = f" and {len(odd) - _NAMED} more" if len(odd) > _NAMED else ""
        raise DataError(
            f"{where}/{shown}{more}: not regular files; a data folder holds files and "
            "folders themselves, so move or copy there what is linked, or remove the "
            "names"
        )
    return files


def _entries(folder: Path, where: str) -> Iterator[tuple[str, "os.DirEntry[str]"]]:
    """Yield what is not a folder, with its path below `folder`."""
    waiting = [""]
    while waiting:
        above = waiting.pop()
        try:
            with os.scandir(folder / above) as entries:
                found = list(entries)
        except OSError as error:
            raise DataError(f"{where}: {above or '.'}: {error.strerror}") from error
        for entry in found:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                waiting.append(f"{above}{entry.name}/")
            else:
                yield above + entry.name, entry
