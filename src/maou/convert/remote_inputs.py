"""Game files in a cloud store: fetched, and then converted as local files are."""

import hashlib
import os
from collections.abc import Callable
from pathlib import PurePosixPath

from maou.convert.config import HcpeConvertConfig
from maou.convert.inputs import SUFFIXES, Inputs, find_inputs, format_of, no_games
from maou.sources.remote import Found, fetch_files


def open_inputs(config: HcpeConvertConfig, note: Callable[[str], None]) -> Inputs:
    """List the game files of the input; those in a store are fetched first.

    Args:
        config: names the input.
        note: called with lines about the progress of a fetch.

    Raises:
        ConfigError: no such path, or the cache cannot hold the files.
        DataError: no game files there.
        RemoteError: the store cannot be reached, refuses, or changes meanwhile.
    """
    if config.input_path is not None:
        return find_inputs(config.input_path, config.input_format)
    forced = "" if config.input_format == "auto" else config.input_format

    def choose(found: Found) -> tuple[list[str], list[str]]:
        names = sorted(found.items, key=os.fsencode)  # as local paths are ordered
        if not found.alone:
            names = [name for name in names if _is_game(name, forced)]
        if not names:
            raise no_games(f"{found.asked}: no game files here", forced)
        return names, []

    fetched = fetch_files(config, choose, note)
    note(fetched.origin)
    files, places, digest = [], [], hashlib.sha256()
    for name, path in fetched.files:
        size = path.stat().st_size
        # The cache names its entries by object and version.
        digest.update(b"%s\0%d\0%s\n" % (os.fsencode(name), size, path.name.encode()))
        files.append((name, size))
        places.append(path.relative_to(fetched.folder).as_posix())
    return Inputs(
        root=fetched.folder,
        files=files,
        formats=[forced or format_of(path) for _, path in fetched.files],
        digest=digest.hexdigest(),
        places=places,
        keep=fetched.keep,
    )


def _is_game(name: str, forced: str) -> bool:
    kind = SUFFIXES.get(PurePosixPath(name).suffix.lower())
    return kind is not None and forced in ("", kind)
