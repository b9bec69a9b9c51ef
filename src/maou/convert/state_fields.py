"""Checks of what an earlier run says that it left, before anything acts on it."""

from typing import Any

from maou.reading import plain_name
from maou.text import shortened

_LARGEST = 2**63 - 1


def whole(value: Any, least: int = 0) -> int:
    """Take a whole number.

    Raises:
        ValueError: it is something else, or out of range.
    """
    if type(value) is not int or not least <= value <= _LARGEST:
        raise ValueError(f"{shortened(repr(value), 40)} is not a count")
    return value


def counts(value: Any) -> dict[str, int]:
    """Take counts by name.

    Raises:
        ValueError: it is something else.
    """
    return {str(name): whole(count) for name, count in _object(value).items()}


def pair(value: Any) -> list[int]:
    """Take a count for each of two sides.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError(f"{shortened(repr(value), 40)} is not a pair of counts")
    return [whole(count) for count in value]


def shards(value: Any, rows: str, folders: tuple[str, ...] = ("",)) -> list[Any]:
    """Take a list of shards: `name`, `bytes` and their rows.

    Args:
        value: the list.
        rows: what their rows are called.
        folders: where their names may lie, each with a `/` behind it.

    Raises:
        ValueError: it is something else, or a name lies elsewhere.
    """
    if not isinstance(value, list):
        raise ValueError(f"{shortened(repr(value), 40)} is not a list of shards")  # noqa: TRY004
    for shard in map(_object, value):
        whole(shard.get("bytes")), whole(shard.get(rows))
        name = shard.get("name")
        if not isinstance(name, str) or not any(
            name.startswith(folder) and plain_name(name.removeprefix(folder))
            for folder in folders
        ):
            raise ValueError(f"{shortened(repr(name), 80)} is no shard of this folder")
    return value


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{shortened(repr(value), 40)} is not an object")  # noqa: TRY004
    return value
