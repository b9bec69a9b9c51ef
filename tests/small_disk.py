"""A real file system that is really full soon."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """Mount one on a folder; skip the test where that is not allowed."""
    command = ("mount", "-t", "tmpfs", "-o", f"size={size}", "maou-test", str(folder))
    try:
        mounted = subprocess.run(command, capture_output=True, check=False)
    except OSError as error:
        pytest.skip(f"nothing can be mounted here: {error}")
    if mounted.returncode:
        pytest.skip(f"nothing can be mounted here: {mounted.stderr!r}")
    try:
        yield
    finally:
        # Lazily: what a run had open there may be in a cycle that is not freed yet.
        subprocess.run(("umount", "--lazy", str(folder)), check=True)
