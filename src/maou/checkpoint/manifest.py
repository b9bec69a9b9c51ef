"""The manifest of a checkpoint folder: what belongs in it, written last.

A folder without a manifest, or with files that do not match it, is not a checkpoint.
"""

import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from maou.errors import CheckpointError
from maou.files import atomic_write
from maou.reading import open_regular, plain_name, read_json
from maou.text import shortened

MANIFEST = "MANIFEST.json"


def file_digest(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal digits."""
    with open_regular(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def sealing(folder: Path) -> Iterator[Callable[[Path], None]]:
    """Let files be written to a folder; then flush each, and record size and hash.

    Everything is durable at the end, the manifest last. The block is given a function
    to tell which file is complete, so that it is hashed, in a thread of its own, while
    the next ones are written and flushed.
    """
    digests: dict[Path, Future[str]] = {}
    with ThreadPoolExecutor() as pool:

        def complete(path: Path) -> None:
            if path.name != MANIFEST and path not in digests:
                digests[path] = pool.submit(file_digest, path)

        yield complete
        for path in sorted(folder.iterdir()):
            complete(path)
        for path in sorted(digests):
            _sync_file(path)
        _write(folder, {path: digests[path].result() for path in sorted(digests)})


def seal(folder: Path) -> None:
    """Flush every file of a folder, and record size and hash of each."""
    with sealing(folder):
        pass


def _sync_file(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def _write(folder: Path, digests: Mapping[Path, str]) -> None:
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": digest}
        for path, digest in digests.items()
    }
    text = json.dumps({"version": 1, "files": files}, indent=2) + "\n"
    with atomic_write(folder / MANIFEST) as stream:
        stream.write(text.encode())


def verify_manifest(folder: Path, needed: Collection[str] = ()) -> None:
    """Check every file of a folder against its manifest.

    Args:
        folder: the folder.
        needed: files that the manifest has to list, since they will be read.

    Raises:
        CheckpointError: the manifest or a file is missing, a file was changed or is a
            link, or the manifest names files elsewhere.
    """
    entries = _read(folder)
    for name in needed:
        if name not in entries:
            raise CheckpointError(f"{folder / MANIFEST}: does not list {name}")
    for name, entry in entries.items():
        path = folder / name
        try:
            _verify(path, entry)
        except OSError as error:
            raise CheckpointError(f"{path}: {error.strerror or error}") from error


def _verify(path: Path, entry: dict[str, Any]) -> None:
    if path.is_symlink():
        raise CheckpointError(
            f"{path}: is a symbolic link, but a checkpoint holds its files itself; "
            "copy the folder with what its links name (cp -rL)"
        )
    if not path.is_file():
        raise CheckpointError(f"{path}: missing from the checkpoint")
    size = path.stat().st_size
    if size != entry["bytes"]:
        raise CheckpointError(
            f"{path}: {size} bytes, but the manifest says {entry['bytes']}; the "
            "checkpoint is damaged"
        )
    if file_digest(path) != entry["sha256"]:
        raise CheckpointError(
            f"{path}: its contents do not match the manifest; the checkpoint is damaged"
        )


def _read(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        files = read_json(path)["files"]
        entries = {
            name: {"bytes": int(entry["bytes"]), "sha256": str(entry["sha256"])}
            for name, entry in files.items()
        }
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{folder}: not a checkpoint (no {MANIFEST}); name a checkpoint folder or "
            "a run's folder with a 'best' in it"
        ) from error
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
    ) as error:
        text = shortened(str(error))
        raise CheckpointError(f"{path}: not a readable manifest: {text}") from error
    for name in entries:
        if not plain_name(name):
            raise CheckpointError(
                f"{path}: names {shortened(name)!r}, which is no file of this folder; "
                "the manifest was not written by maou, so nothing is read"
            )
    return entries
