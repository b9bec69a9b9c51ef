"""One writer a run: its folders are locked for as long as a process trains in them.

The lock is the kernel's (flock), so it ends with the process, however that ends. What
the file says is for people: who holds the lock, or who died holding it.
"""

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from maou.errors import TrainingError
from maou.files import explained

LOCK = "run.lock"

_UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)


@contextmanager
def locked(*folders: Path, tell: Callable[[str], None]) -> Iterator[None]:
    """Hold the locks of some folders; they are made if missing.

    Args:
        folders: where this process alone may write.
        tell: called with what there is to say about a lock that was left behind.

    Raises:
        TrainingError: another process holds one, or a folder cannot be written to.
    """
    with ExitStack() as stack:
        for folder in folders:
            stack.enter_context(_lock(folder, tell))
        yield


@contextmanager
def _lock(folder: Path, tell: Callable[[str], None]) -> Iterator[None]:
    path = folder / LOCK
    with explained(path, "name folders that can be written to"):
        folder.mkdir(parents=True, exist_ok=True)
        stream = path.open("a+", encoding="utf-8")
    with stream:
        _take(stream, path, tell)
        left = _read(stream)
        if left:
            tell(
                f"{path}: left behind by {_describe(left)}, which ended without an "
                "orderly end (killed, or its machine went down); the lock is taken over"
            )
        with explained(path, "make room there, and run the same command again"):
            _write(stream, json.dumps(_own()))
        try:
            yield
        finally:
            with suppress(OSError):  # a false "left behind" is no reason to fail
                _write(stream, "")


def _take(stream: IO[str], path: Path, tell: Callable[[str], None]) -> None:
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


def _read(stream: IO[str]) -> dict[str, Any]:
    stream.seek(0)
    text = stream.read(4096)
    try:
        said = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {"pid": "unknown"}
    return said if isinstance(said, dict) else {}


def _describe(holder: dict[str, Any]) -> str:
    known = (holder.get(name, "?") for name in ("pid", "host", "since"))
    return "process {} on {}, begun {}".format(*known)


def _write(stream: IO[str], text: str) -> None:
    stream.seek(0)
    stream.truncate()
    stream.write(text)
    stream.flush()
