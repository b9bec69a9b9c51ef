"""One writer a run: its folders are locked for as long as a process trains in them.

The lock is the kernel's (flock), so it ends with the process, however that ends. What
the file says is for people: who holds the lock, or who died holding it.
"""

import errno
import fcntl
import io
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from maou.errors import TrainingError
from maou.files import explained
from maou.reading import open_to_append
from maou.text import shortened

LOCK = "run.lock"

_UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)
"""What a disk says that is full or failing; the rest is a folder ill chosen."""


@contextmanager
def locked(
    *folders: Path, logs: Path | None = None, tell: Callable[[str], None]
) -> Iterator[None]:
    """Hold the locks of some folders; they are made if missing.

    Args:
        folders: where this process alone may write.
        logs: one more; where its disk is full that is told, as logs end no run.
        tell: called with what there is to say about a lock that was left behind.

    Raises:
        TrainingError: another process holds one, or a folder cannot be written to.
    """
    with ExitStack() as stack:
        for folder in folders:
            _lock(folder, stack, tell)
        if logs is not None:
            try:
                _lock(logs, stack, tell)
            except TrainingError as error:
                cause = error.__cause__
                if not isinstance(cause, OSError) or cause.errno not in _FULL:
                    raise
                reason = cause.strerror or cause
                tell(f"Warning: cannot write {logs / LOCK}: {reason}; training goes on")
        yield


def _lock(folder: Path, held: ExitStack, tell: Callable[[str], None]) -> None:
    """Take a folder's lock until `held` is closed."""
    path = folder / LOCK
    with explained(path, "name folders that can be written to"):
        folder.mkdir(parents=True, exist_ok=True)
    there = os.path.lexists(path)
    with explained(path, "move it away" if there else "name another folder"):
        stream = held.enter_context(open_to_append(path))
        _take(stream, path, tell)
    left = _read(stream)
    if left:
        tell(
            f"{path}: left behind by {_describe(left)}, which ended without an "
            "orderly end (killed, or its machine went down); the lock is taken over"
        )
    held.callback(_release, stream)
    with explained(path, "make room there, and run the same command again"):
        _write(stream, json.dumps(_own()))


def _release(stream: io.FileIO) -> None:
    with suppress(OSError):  # a false "left behind" is no reason to fail
        _write(stream, "")


def _take(stream: io.FileIO, path: Path, tell: Callable[[str], None]) -> None:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = _read(stream)
        raise TrainingError(
            f"{path.parent}: another process trains here: {_describe(holder)}. Two "
            "would damage each other's checkpoints; wait until it has ended, or end it"
        ) from error
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        tell(
            f"{path}: this file system has no locks; see to it yourself that no other "
            "process trains here"
        )


def _own() -> dict[str, Any]:
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S %z"),
    }


def _read(stream: io.FileIO) -> dict[str, Any]:
    """Read who wrote the lock; empty where nobody has it or left it behind."""
    unknown = {"pid": "unknown"}  # torn or overwritten
    try:
        stream.seek(0)
        text = stream.read(4096)
        said = json.loads(text) if text else {}
    except (OSError, ValueError, RecursionError):
        return unknown
    return said if isinstance(said, dict) else unknown


def _describe(holder: dict[str, Any]) -> str:
    known = (
        shortened(str(holder.get(name, "?")), 80) for name in ("pid", "host", "since")
    )
    return "process {} on {}, begun {}".format(*known)


def _write(stream: io.FileIO, text: str) -> None:
    stream.truncate(0)
    stream.write(text.encode())  # it is opened for appending: at the beginning
