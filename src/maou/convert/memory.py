"""How much memory this process occupies, and giving back what it has freed."""

import contextlib
import ctypes
import os
from pathlib import Path

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


def return_freed_memory() -> None:
    """Have the C library give large arrays back to the system when they are freed.

    glibc by default comes to keep freed blocks of up to 32 MB for each thread, which
    would count against the memory limit. Other libraries have no such call.
    """
    with contextlib.suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        for option in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):
            mallopt(option, 1 << 20)


def resident_bytes() -> int:
    """Return the memory that this process occupies now."""
    with Path("/proc/self/statm").open() as stream:
        return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
