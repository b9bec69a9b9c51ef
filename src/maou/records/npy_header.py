"""The header of `.npy` files, checked before numpy makes anything of it.

A header is a Python dictionary as text. Only what `numpy.save` writes is let through:
no escapes, no operators, little nesting, and types of numbers and text.
"""

import ast
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy_format

from maou.errors import DataError
from maou.records.shards import file_size, read_bytes

_MAGIC = b"\x93NUMPY"
_LENGTH_BYTES = {(1, 0): 2, (2, 0): 4}

_MOST_BYTES = 65536
_MOST_DEPTH = 12
_MOST_ROWS = 2**48

_TOKENS = re.compile(  # possessive: what was matched is not tried in other ways
    r"(?>\s*(?:'[^'\\\n]*'|\"[^\"\\\n]*\"|[(){}\[\],:]|\d{1,19}(?!\d)|True|False))*+\s*"
)
_TYPE = re.compile(r"[<>|=]?(?:[?bBiufcmMSUV]\d{0,9}(?:\[\d{0,5}\w{1,2}\])?|O\d?)")

Header = tuple[tuple[int, ...], np.dtype[Any], int]
"""Shape, dtype, and where the data begins."""


def read_header(path: Path) -> Header:
    """Return the shape, the dtype and where the data begins.

    Raises:
        DataError: no such file, not `.npy`, or an array of Python objects.
    """
    text, offset = _text(path)
    try:
        shape, fortran, dtype = _parsed(text)
    except (ValueError, TypeError) as error:
        raise DataError(f"{path}: not a readable .npy file: {error}") from error
    if dtype.hasobject:
        raise DataError(
            f"{path}: holds Python objects, which are never loaded; write the records "
            "with a structured dtype"
        )
    if fortran and len(shape) > 1:
        raise DataError(f"{path}: the array is in Fortran order; write it in C order")
    return shape, dtype, offset


def _text(path: Path) -> tuple[str, int]:
    """Read the dictionary's text, and where the data begins."""
    size = file_size(path)
    start = read_bytes(path, 0, min(size, 12)).tobytes()
    if not start.startswith(_MAGIC) or len(start) < 12:
        raise DataError(
            f"{path}: not a readable .npy file: it does not begin as one, or is cut"
        )
    version = (start[6], start[7])
    width = _LENGTH_BYTES.get(version)
    if width is None:
        raise DataError(
            f"{path}: .npy version {version} is not supported; write it with "
            "numpy.save and a structured dtype"
        )
    begin = 8 + width
    length = int.from_bytes(start[8:begin], "little")
    if length > min(_MOST_BYTES, size - begin):
        raise DataError(
            f"{path}: not a readable .npy file: its header claims {length} bytes"
        )
    return read_bytes(path, begin, length).tobytes().decode("latin1"), begin + length


def _parsed(text: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Raises ValueError and the like where `numpy.save` would not write such text."""
    depth = deepest = 0
    for char in text:
        depth += (char in "([{") - (char in ")]}")
        deepest = max(deepest, depth)
    if deepest > _MOST_DEPTH or not _TOKENS.fullmatch(text):
        raise ValueError("its header is not one that numpy writes")
    try:
        header = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError):
        raise ValueError("its header is not one that numpy writes") from None
    if not isinstance(header, dict) or set(header) != {
        "descr",
        "fortran_order",
        "shape",
    }:
        raise ValueError("its header has other keys than descr, fortran_order, shape")
    shape, fortran = header["shape"], header["fortran_order"]
    if not isinstance(fortran, bool):
        raise TypeError("its fortran_order is neither True nor False")
    if not _is_shape(shape):
        raise ValueError("its shape is not a tuple of sizes")
    _require_types(header["descr"])
    return shape, fortran, npy_format.descr_to_dtype(header["descr"])


def _is_shape(shape: Any) -> bool:
    return isinstance(shape, tuple) and all(
        type(size) is int and 0 <= size <= _MOST_ROWS for size in shape
    )


def _require_types(descr: Any) -> None:
    """Refuse a description of a dtype that is more than numbers, text and records."""
    if isinstance(descr, str):
        if not _TYPE.fullmatch(descr):
            raise ValueError(f"its type {descr[:40]!r} is unknown")
    elif isinstance(descr, tuple):
        if len(descr) != 2 or not _is_shape(descr[1]):
            raise ValueError("its type is not one that numpy writes")
        _require_types(descr[0])
    elif isinstance(descr, list):
        for field in descr:
            _require_field(field)
    else:
        raise TypeError("its type is not one that numpy writes")


def _require_field(field: Any) -> None:
    if not isinstance(field, tuple) or len(field) not in (2, 3):
        raise ValueError("a field is not a name with a type")
    name = field[0]
    titled = isinstance(name, tuple) and len(name) == 2
    if not all(isinstance(part, str) for part in (name if titled else (name,))):
        raise ValueError("a field is not a name with a type")
    if len(field) == 3 and not _is_shape(field[2]):
        raise ValueError("a field's shape is not a tuple of sizes")
    _require_types(field[1])
