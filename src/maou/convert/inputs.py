"""Finding game files and cutting them into tasks; reading the games of a task.

A task is a run of whole small files or a byte range of one large CSA file, about as
long as `TASK_BYTES`. The list of tasks depends on the files alone, never on workers.
"""

import hashlib
import io
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from maou.convert.games import content_format
from maou.errors import ConfigError, DataError
from maou.reading import files_below, open_regular

SUFFIXES = {
    ".csa": "csa",
    ".kif": "kif",
    ".kifu": "kif",
    ".ki2": "ki2",
    ".ki2u": "ki2",
}

TASK_BYTES = 1 << 19
"""About 20,000 positions: short enough to balance workers, long enough that handing
it out costs nothing."""

GAME_BYTES = 1 << 24
"""No game is this long; what goes on without a separator is not a game file."""

_ID_BYTES = 57  # of the 64 that an id has, less "_" and the ply's digits

_SEPARATOR = re.compile(rb"\n/[ \t\r]*(?=\n)")


class Piece(NamedTuple):
    """The part of a file that one task converts.

    Attributes:
        file: the file's number among the inputs.
        path: where the file is below the input root, with `/`.
        format: `csa`, `kif` or `ki2`.
        start: a CSA piece owns the games whose separator line is in [start, stop), and
            at start 0 the first game of the file.
        stop: end of the piece in bytes.
        whole: whether the piece is the whole file.
    """

    file: int
    path: str
    format: str
    start: int
    stop: int
    whole: bool


class Inputs(NamedTuple):
    """The files to convert.

    Attributes:
        root: folder that the files' paths are relative to.
        files: (relative path, bytes), sorted by path.
        formats: format of each file.
        digest: changes whenever a file is added, removed or written to.
        places: where the files are below the root, if that is not their path; then
            `files` has what they are called where they came from.
        keep: what must live as long as the files are needed.
    """

    root: Path
    files: list[tuple[str, int]]
    formats: list[str]
    digest: str
    places: Sequence[str] = ()
    keep: object = None

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(size for _, size in self.files)


def find_inputs(path: Path, input_format: str) -> Inputs:
    """List the game files of a file or folder.

    Args:
        path: one file, read whatever its suffix, or a folder, searched recursively.
        input_format: `auto`, or the one format to take.

    Raises:
        ConfigError: no such path.
        DataError: the folder holds no file of that format; or links, pipes, sockets
            or devices.
    """
    forced = "" if input_format == "auto" else input_format
    if path.is_file():
        root, found = path.parent, [path]
    elif path.is_dir():
        root, found = path, _walk(path, forced)
    else:
        raise ConfigError(f"--input-path: {path} is neither a file nor a folder")
    if not found:
        raise no_games(f"--input-path: no game files in {path}", forced)
    files, digest = [], hashlib.sha256()
    names = sorted((os.fsencode(f.relative_to(root).as_posix()), f) for f in found)
    for name, file in names:
        size, written = _size_and_time(file)
        digest.update(b"%s\0%d\0%d\n" % (name, size, written))
        files.append((os.fsdecode(name), size))
    formats = [forced or format_of(root / name) for name, _ in files]
    return Inputs(root, files, formats, digest.hexdigest())


def no_games(what: str, forced: str) -> DataError:
    """Make the error about a place without game files of the wanted format."""
    wanted = [s for s, kind in SUFFIXES.items() if forced in ("", kind)]
    return DataError(
        f"{what}; looked for {', '.join(wanted)}. A file of another name can be given "
        "by itself."
    )


def format_of(file: Path) -> str:
    """Tell the format of a game file by its suffix, or else by its content."""
    return SUFFIXES.get(file.suffix.lower()) or _content_format(file)


def _content_format(file: Path) -> str:
    """Tell the format of a file whose suffix says nothing."""
    try:
        with open_regular(file) as stream:
            head = stream.read(1 << 16)
    except OSError as error:
        raise DataError(f"--input-path: {file}: {error.strerror or error}") from error
    text = head.decode(errors="replace")
    if "\ufffd" in text[:-1]:
        text = head.decode("cp932", errors="replace")
    return content_format(text)


def _size_and_time(file: Path) -> tuple[int, int]:
    try:
        status = file.stat()
    except OSError:  # the task that reads it reports why
        return 0, 0
    return status.st_size, status.st_mtime_ns


def game_id(path: str, number: int) -> str:
    """Return the stable name of a game: `<path>:<number>`, at most 57 bytes of UTF-8.

    Args:
        path: the file's path relative to the input root.
        number: the game's number in its file, from 1.
    """
    text = f"{path}:{number}"
    if path.startswith("~") or len(os.fsencode(text)) > _ID_BYTES or not _plain(path):
        digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:32]
        return f"~{digest}:{number}"
    return text


def _plain(path: str) -> bool:
    try:
        return bool(path.encode()) and path.isprintable()
    except UnicodeEncodeError:
        return False


def _walk(folder: Path, forced: str) -> list[Path]:
    found = []
    for name in files_below(folder, f"--input-path {folder}"):
        kind = SUFFIXES.get(Path(name).suffix.lower())
        if kind and forced in ("", kind):
            found.append(folder / name)
    return found


def plan_tasks(inputs: Inputs, task_bytes: int = TASK_BYTES) -> list[list[Piece]]:
    """Cut the inputs into tasks, in the order of the files."""
    tasks: list[list[Piece]] = []
    room = 0
    for file, (path, size) in enumerate(inputs.files):
        kind = inputs.formats[file]
        step = task_bytes if kind == "csa" and size > 2 * task_bytes else max(1, size)
        for start in range(0, max(1, size), step):
            stop = min(size, start + step)
            if stop - start > room or not tasks:
                tasks.append([])
                room = task_bytes
            place = inputs.places[file] if inputs.places else path
            tasks[-1].append(Piece(file, place, kind, start, stop, step >= size))
            room -= stop - start
    return tasks


def read_games(root: Path, piece: Piece) -> Iterator[bytes]:
    """Yield the bytes of each game of a piece; blank stretches are left out.

    Raises:
        OSError: the file cannot be read.
        DataError: a stretch far longer than any game.
    """
    with open_regular(root / piece.path) as raw, io.BufferedReader(raw) as stream:
        if piece.format == "csa":
            yield from _csa_games(stream, piece.start, piece.stop)
            return
        data = stream.read(GAME_BYTES + 1)
        if len(data) > GAME_BYTES:
            raise DataError(f"longer than {GAME_BYTES} bytes: not a game")
        if data.strip():
            yield data


def _csa_games(stream: BinaryIO, start: int, stop: int) -> Iterator[bytes]:
    # A separator is a newline, "/", blanks and a newline. The byte before the piece is
    # read too, since the first newline may be the last byte of the piece before.
    stream.seek(max(0, start - 1))
    data = stream.read(stop - start + 1) if start else b"\n" + stream.read(stop)
    data = _extend(stream, data, 1 + stop - start)
    if start:
        first = _SEPARATOR.search(data)
        if first is None:
            return
        data = data[first.end() :]
    for game in _SEPARATOR.split(data):
        if game.strip():
            yield game


def _extend(stream: BinaryIO, data: bytes, owned: int) -> bytes:
    """Read on until the separator that ends the piece's last game, and cut there.

    `owned` is where in `data` the bytes end in which a "/" is the piece's own.
    """
    at = max(0, owned - 1)
    while True:
        end = _SEPARATOR.search(data, at)
        if end is not None:
            return data[: end.start() + 1]
        more = stream.read(TASK_BYTES)
        if not more:
            data += b"\n"
            end = _SEPARATOR.search(data, at)
            return data[: end.start() + 1] if end else data
        if len(data) - at > GAME_BYTES:
            raise DataError(f"no separator line in {GAME_BYTES} bytes: not a game file")
        data += more
