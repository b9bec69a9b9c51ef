"""How batch kernels are compiled.

One place for numba's options: machine code is cached beside the source (or in the
user's cache folder where that is read-only), and kernels release the interpreter
lock, so that threads can share a batch.

numba compares a cached kernel with its own source file only. A kernel that calls
another module's, or holds its tables, would stay as it was when that one changes and
compute wrong rows; so the cache has a folder for each state of all these files.
"""

import hashlib
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np

_PACKAGE = Path(__file__).parents[1]


def source_digest(package: Path) -> str:
    """Hash every file that kernels are made of, 16 hex digits: shogi/ and the users."""
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        source = path.read_bytes()
        if path.parent.name == "shogi" or b"maou.shogi.compiled" in source:
            digest.update(
                path.relative_to(package).as_posix().encode() + b"\0" + source
            )
    return digest.hexdigest()[:16]


def cache_folder(package: Path) -> Path | None:
    """Make the folder of these kernels, and remove those of earlier states.

    Returns:
        None where nothing can be written; numba then decides.
    """
    name = f"kernels-{source_digest(package)}"
    user = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    for parent in (package / "__pycache__", Path(user).expanduser() / "maou"):
        folder = parent / name
        try:
            if not folder.is_dir():
                folder.mkdir(parents=True, exist_ok=True)
                for earlier in parent.glob("kernels-*"):
                    if earlier != folder:
                        shutil.rmtree(earlier, ignore_errors=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder
    return None


if "NUMBA_CACHE_DIR" not in os.environ and (_folder := cache_folder(_PACKAGE)):
    numba.config.CACHE_DIR = str(_folder)  # type: ignore[attr-defined]

F = TypeVar("F", bound=Callable[..., object])


def kernel(function: F) -> F:
    """Compile a function over numpy arrays on its first call."""
    return cast("F", numba.njit(cache=True, nogil=True, boundscheck=False)(function))


def inlined(function: F) -> F:
    """Compile a small function into its callers."""
    return cast("F", numba.njit(cache=True, inline="always")(function))


@inlined
def signed(value: Any) -> int:
    """Make a signed 64-bit integer: numba turns uint64 with int64 into a float."""
    return np.int64(value)  # type: ignore[return-value]


def over_rows(work: Callable[[int, int], None], rows: int, threads: int) -> None:
    """Call `work(start, stop)` so that the calls cover `range(rows)` once.

    With one thread this is one call; otherwise the rows are divided evenly.
    """
    if threads <= 1 or rows < 2 * threads:
        work(0, rows)
        return
    cuts = [rows * i // threads for i in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, cuts[:-1], cuts[1:]))
