"""Writing files so that a crash never leaves half a file under its final name."""

import contextlib
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from maou.errors import TrainingError

_UMASK_LOCK = threading.Lock()


def _umask() -> int:
    with _UMASK_LOCK:  # it is the process's, and can only be read by setting it
        mask = os.umask(0)
        os.umask(mask)
        return mask


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary sibling of `path`; on success make it `path` durably.

    The data is flushed to disk, the file renamed over `path`, and the folder
    flushed, so after a crash `path` holds either its old content or all of the
    new. When the block raises, the temporary file is removed and `path` is
    untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


@contextlib.contextmanager
def explained(path: Path, remedy: str) -> Iterator[None]:
    """Turn what the system says against writing a run's file into one message.

    Args:
        path: the file, or the folder of several.
        remedy: what the user can do.

    Raises:
        TrainingError: the disk is full or failing, or access is denied.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise TrainingError(f"cannot write {path}: {reason}; {remedy}") from error


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk (after a rename into it)."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
