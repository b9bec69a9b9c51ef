"""The manifest of a checkpoint folder: what belongs in it, written last.

A folder without a manifest, or with files that do not match it, is not a checkpoint.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from maou.errors import CheckpointError
from maou.files import atomic_write

MANIFEST = "MANIFEST.json"


def file_digest(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def seal(folder: Path) -> None:
    """Flush every file of a folder, and record size and hash of each.

    Everything is durable when it returns, the manifest last. Hashes are taken while
    the disk is busy, each file's in a thread of its own.
    """
    paths = sorted(path for path in folder.iterdir() if path.name != MANIFEST)
    with ThreadPoolExecutor() as pool:
        digests = pool.map(file_digest, paths)
        for path in paths:
            _sync_file(path)
        write_manifest(folder, paths, digests)


def _sync_file(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def write_manifest(folder: Path, paths: Iterable[Path], digests: Iterable[str]) -> None:
    """Record size and hash of some files of a folder; durable when it returns."""
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": digest}
        for path, digest in zip(paths, digests, strict=True)
    }
    text = json.dumps({"version": 1, "files": files}, indent=2) + "\n"
    with atomic_write(folder / MANIFEST) as stream:
        stream.write(text.encode())


def verify_manifest(folder: Path) -> None:
    """Check every file of a folder against its manifest.

    Raises:
        CheckpointError: the manifest or a file is missing, or a file was changed.
    """
    entries = _read(folder)
    for name, entry in entries.items():
        path = folder / name
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
                f"{path}: its contents do not match the manifest; the checkpoint is "
                "damaged"
            )


def _read(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        files = json.loads(path.read_bytes())["files"]
        return {
            name: {"bytes": int(entry["bytes"]), "sha256": str(entry["sha256"])}
            for name, entry in files.items()
        }
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{folder}: not a checkpoint (no {MANIFEST}); name a checkpoint folder or "
            "a run's folder with a 'best' in it"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: not a readable manifest: {error}") from error
