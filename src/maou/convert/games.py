"""Bytes of one game, or of games that lack separators, to parsed games or rejects.

Parsing and the rules are rsshogi's. What this module adds is to decode the text, to
find moves that the parser would pass over in silence, and to name the true reason and
the move where a game cannot be converted.
"""

import faulthandler
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from rsshogi.record import Record

T = TypeVar("T")

STANDARD_START = "lnsgkgsnl/1r5b1/ppppppppp/9/9/9/PPPPPPPPP/1B5R1/LNSGKGSNL b - 1"

_WHOLE_SET = {"p": 18, "l": 4, "n": 4, "s": 4, "g": 4, "b": 2, "r": 2}
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True, eq=False)
class Game:
    """A legal game whose result is known.

    Attributes:
        start: the start position as sfen.
        moves: the main line, uint32 [plies], coded as `convert.coding` says.
        evals: engine evaluation of the position before each move, seen from black,
            int32 [plies] within 16 bits; 0 where the file has none.
        result: 0 draw, 1 black won, 2 white won.
        status: how it ended, as CSA's token (`%TORYO`).
        date: the day it was played as `YYYY-MM-DD`, or None.
        ratings: black's and white's rating, 0 where unknown.
    """

    start: str
    moves: npt.NDArray[np.uint32]
    evals: npt.NDArray[np.int32]
    result: int
    status: str
    date: str | None
    ratings: tuple[int, int]


class Rejected(Exception):  # noqa: N818 - a verdict on a game, as `StopIteration`
    """A game that cannot be converted.

    Attributes:
        ply: number of the move at which it fails; for an unfinished game the last
            move; 0 when the game as a whole or its start position is the reason.
        reason: `kind: details`, where the kind is one of a few words to count by.
    """

    def __init__(self, reason: str, ply: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.ply = ply

    def __reduce__(self) -> tuple[type["Rejected"], tuple[str, int]]:
        """Pickle with both arguments."""
        return type(self), (self.reason, self.ply)


def parse_games(data: bytes, kind: str) -> Iterator[Game | Rejected]:
    """Parse what stands between two separators, normally one game.

    Args:
        data: the text's bytes, UTF-8 with or without a byte-order mark, or Shift-JIS.
        kind: `csa`, `kif` or `ki2`.
    """
    # The formats' modules use this one's types, so they are imported late.
    from maou.convert.csa import parse_csa
    from maou.convert.kif import parse_ki2, parse_kif

    parsers: dict[str, Callable[[str], Game]] = {"kif": parse_kif, "ki2": parse_ki2}
    try:
        text = decode(data)
    except Rejected as reject:
        yield reject
        return
    if kind == "csa":
        yield from parse_csa(text)
        return
    try:
        yield parsers[kind](text)
    except Rejected as reject:
        yield reject


def decode(data: bytes) -> str:
    """Decode UTF-8, else Shift-JIS (cp932), with line ends made `\\n`.

    Raises:
        Rejected: the bytes are neither.
    """
    data = data.removeprefix(_BOM)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        try:
            text = data.decode("cp932")
        except UnicodeDecodeError as error:
            raise Rejected(
                f"unreadable: neither UTF-8 nor Shift-JIS text (byte {error.start})"
            ) from None
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text


def content_format(text: str) -> str:
    """Tell the format of a text: `csa`, `ki2`, or else `kif`."""
    for line in map(str.strip, text.split("\n")):
        if line.startswith(("V2", "V3", "N+", "N-", "PI", "P1", "'", "%")):
            return "csa"
        if line[:1] in ("+", "-") and line[1:5].isdigit():
            return "csa"
        if line[:1] in ("▲", "△", "☗", "☖", "▼", "▽"):
            return "ki2"
        if line[:1].isdigit() or line.startswith("手数----"):
            return "kif"
    return "kif"


def guarded(parse: Callable[[str], T], text: str) -> T:
    """Call a parser of rsshogi, with its panics made `ValueError`s.

    Raises:
        ValueError: the text cannot be parsed.
    """
    try:
        return parse(text)
    except Exception as error:  # noqa: BLE001 - whatever it is, the game is refused
        raise ValueError(str(error)) from None
    except BaseException as error:
        # A panic in rsshogi arrives as a BaseException of a private class.
        if type(error).__name__ != "PanicException":
            raise
        raise ValueError(f"the parser failed: {error}") from None


def survives(parse: Callable[[str], object], text: str) -> bool:
    """Tell whether a parser lives through a text, by trying it in a forked process.

    rsshogi ends the whole process at some KI2 moves, such as a drop on a square that
    is taken.
    """
    pid = os.fork()
    if pid == 0:
        try:
            # Rust tells of it at length, and so does Python where that is asked for.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            faulthandler.disable()
            guarded(parse, text)
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    return not os.WIFSIGNALED(status)


def require_whole_set(start: str) -> None:
    """Refuse a start position that the 256-bit position code cannot hold.

    Raises:
        Rejected: not all 40 pieces are there, once each.
    """
    if start == STANDARD_START:
        return
    board, _, hands, *_ = start.split(" ")
    kings = board.count("K"), board.count("k")
    if kings != (1, 1):
        which = " and ".join(
            f"{count or 'no'} {side} king{'s' * (count > 1)}"
            for count, side in zip(kings, ("black", "white"), strict=True)
            if count != 1
        )
        raise Rejected(f"pieces missing: the start position has {which}")
    counts = {piece: board.lower().count(piece) for piece in _WHOLE_SET}
    number = ""
    for char in hands:
        if char.isdigit():
            number += char
        elif char != "-":
            counts[char.lower()] += int(number or 1)
            number = ""
    if counts == _WHOLE_SET:
        return
    missing = {p: whole - counts[p] for p, whole in _WHOLE_SET.items()}
    details = [
        f"{abs(n)} {p.upper()} too {'few' if n > 0 else 'many'}"
        for p, n in missing.items()
        if n
    ]
    kind = "handicap" if hands == "-" and _is_handicap(board) else "pieces missing"
    raise Rejected(
        f"{kind}: the start position has {sum(counts.values()) + 2} of 40 pieces "
        f"({', '.join(details)}); hcpe cannot hold it"
    )


def _is_handicap(board: str) -> bool:
    """Tell whether a board is the standard one less pieces of one side."""
    standard = _cells(STANDARD_START.split(" ", maxsplit=1)[0])
    cells = _cells(board)
    missing = [a for a, b in zip(standard, cells, strict=True) if a != b]
    same = all(b in (a, "") for a, b in zip(standard, cells, strict=True))
    return same and len({piece.islower() for piece in missing}) == 1


def _cells(board: str) -> list[str]:
    cells: list[str] = []
    promoted = ""
    for char in board.replace("/", ""):
        if char == "+":
            promoted = "+"
        elif char.isdigit():
            cells += [""] * int(char)
        else:
            cells.append(promoted + char)
            promoted = ""
    return cells


def start_of(parse: Callable[[str], Record], header: str) -> str | None:
    """Return the start position that a header without moves sets up, if it can."""
    try:
        return guarded(parse, header).init_position_sfen
    except ValueError:
        return None
