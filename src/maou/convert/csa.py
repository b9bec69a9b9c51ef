"""CSA: one text to games, their evaluations and ratings."""

import re
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from rsshogi.record import Record

from maou.convert.coding import EVAL_LIMIT, coded_moves, scan_csa
from maou.convert.endings import (
    decided_by_rules,
    floodgate_summary,
    result_of,
)
from maou.convert.games import (
    Game,
    Rejected,
    guarded,
    require_whole_set,
    start_of,
)

_MOVE = re.compile(r"\n[+-](?!\d{4}[A-Z]{2}[,\s]|\s)")
_MOVE = re.compile(r"[+-]\d{4}[A-Z]{2}")
_VERSION = re.compile(r"^V\d", re.MULTILINE)
_ILLEGAL = re.compile(r"illegal move at index (\d+)")
_DATE = re.compile(r"^\$START_TIME:\s*(\d{4})[/-](\d{1,2})[/-](\d{1,2})", re.MULTILINE)
_RATE = re.compile(
    r"^'(black|white)_rate:.*:\s*(-?\d+(?:\.\d+)?)\s*$",
    re.MULTILINE,
)
_MOST_GAMES = 20_000
"""More games do not fit the length that a stretch without separators may have."""

_RANK = re.compile(r"P[1-9]")
_WHOLE_SET = {"FU": 18, "KY": 4, "KE": 4, "GI": 4, "KI": 4, "KA": 2, "HI": 2}
_PLAIN = {"TO": "FU", "NY": "KY", "NK": "KE", "NG": "GI", "UM": "KA", "RY": "HI"}
_EVAL = re.compile(r"'\*\*[ \t]*([+-]?\d+(?:\.\d+)?)(?![\w.])")


def parse_csa(text: str) -> Iterator[Game | Rejected]:
    """Parse the game, or the games that follow each other without separators.

    Args:
        text: decoded text with `\\n` line ends.
    """
    text += "\n"
    if "00AL" in text:
        text = _name_the_rest(text)
    game = _try_one(text)
    starts: list[int] = []
    if isinstance(game, Rejected):
        starts = [found.start() for found in _VERSION.finditer(text)][1:]
    if not starts:
        yield game
        return
    if len(starts) > _MOST_GAMES:
        yield Rejected(f"unreadable: {len(starts)} games without a separator line")
        return
    for begin, end in zip([0, *starts], [*starts, len(text)], strict=True):
        yield _try_one(text[begin:end])


def _try_one(text: str) -> Game | Rejected:
    try:
        return _parse_one(text)
    except Rejected as reject:
        return reject


def _parse_one(text: str) -> Game:
    try:
        record = guarded(Record.from_csa_str, text)
    except ValueError as error:
        raise _diagnose(text, str(error)) from None
    plies = record.move_count
    moves, evals = _moves_and_evals(text, record)
    if not plies:
        raise Rejected("no moves: the text holds no move")
    start = record.init_position_sfen
    require_whole_set(start)
    result, status = result_of(record), record.result_info.reason or ""
    status = status.split(",", 1)[0].strip()
    summary = floodgate_summary(text, start, plies)
    if summary is not None:
        result, told = summary
        if not status.startswith("%") or told.endswith(("ILLEGAL_MOVE", "_ACTION")):
            status = told
    if result is None:
        result, status = decided_by_rules(record, status)
    return Game(start, moves, evals, result, status, _date(text), _ratings(text))


def _moves_and_evals(
    text: str, record: Record
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int32]]:
    plies = record.move_count
    moves = np.zeros(plies, dtype=np.uint32)
    evals = np.zeros(plies, dtype=np.int32)
    # Where each move has a line of its own, the text is read several times as fast
    # here as through rsshogi's objects, of which there are four a move.
    data = np.frombuffer(text.encode(), dtype=np.uint8)
    found, read, plain = scan_csa(data, moves, evals)
    if found != plies or not plain:
        _require_all_moves(text, plies)
        moves, read = coded_moves([entry.move for entry in record.moves]), -1
    written = text.count("\n'**")
    if written and read != written:
        evals = _evals(text, plies)
    return moves, evals


def _name_the_rest(text: str) -> str:
    """Write out `P-00AL`, all pieces not yet placed, of which rsshogi misses some."""
    rest = dict(_WHOLE_SET)
    lines = text.split("\n")
    for i, line in enumerate(lines):
        placed: list[str] = []
        if _RANK.match(line):
            placed = [line[at + 1 : at + 3] for at in range(2, len(line), 3)]
        elif line.startswith(("P+", "P-")):
            placed = [line[at + 2 : at + 4] for at in range(2, len(line), 4)]
        for code in placed:
            piece = _PLAIN.get(code, code)
            if piece in rest:
                rest[piece] -= 1
        if "00AL" in line and line.startswith(("P+", "P-")):
            every = "".join(f"00{piece}" * max(0, n) for piece, n in rest.items())
            lines[i] = line.replace("00AL", every)
    return "\n".join(lines)


def _statements(text: str) -> Iterator[str]:
    for line in map(str.strip, text.split("\n")):
        if line[:1] in ("'", "N", "$", "P", "V"):
            yield line
        else:
            yield from (part.strip() for part in line.split(","))


def _moves_in(text: str) -> list[str]:
    return [s for s in _statements(text) if s[:1] in ("+", "-") and len(s) > 1]


def _require_all_moves(text: str, plies: int) -> None:
    """Check that each statement that begins like a move is one the parser counted.

    rsshogi ignores what follows a move's seven characters, so that `+8822KA+` would
    pass as a move without promotion, and all that follows the end of the game.
    """
    written = _moves_in(text)
    for ply, statement in enumerate(written, 1):
        if not _MOVE.fullmatch(statement):
            raise Rejected(f"unreadable: {statement!r} is not a CSA move", ply)
    if len(written) != plies:
        raise Rejected(
            f"unreadable: {len(written)} moves are written but the game ends after "
            f"{plies}; are two games not separated by a line '/'?",
            plies,
        )


def _diagnose(text: str, error: str) -> Rejected:
    """Name the true reason why a text cannot be parsed."""
    statements = list(_statements(text))
    first = next((i for i, s in enumerate(statements) if _MOVE.match(s)), None)
    start = start_of(Record.from_csa_str, "\n".join(statements[:first]))
    if start is not None and first is not None:
        try:
            require_whole_set(start)
        except Rejected as reject:
            return reject
    written = [s for s in statements if s[:1] in ("+", "-")]
    if written and first is not None and len(written[0]) == 1:
        written = written[1:]  # the line that names the side to move
    illegal = _ILLEGAL.search(error)
    if illegal:
        ply = int(illegal[1]) + 1
        move = written[ply - 1] if ply <= len(written) else "?"
        return Rejected(f"illegal move: {move}", ply)
    for ply, statement in enumerate(written, 1):
        if not _MOVE.fullmatch(statement):
            return Rejected(f"unreadable: {statement!r} is not a CSA move", ply)
    if "sign" in error:
        offender = error.rsplit(": ", 1)[-1].strip()
        ply = written.index(offender) + 1 if offender in written else 0
        return Rejected(f"illegal move: {offender} by the side not to move", ply)
    return Rejected(f"unreadable: {error}")


def _evals(text: str, plies: int) -> npt.NDArray[np.int32]:
    """Read evaluations in any of the forms they come in; 0 where there is none."""
    evals = np.zeros(plies, dtype=np.int32)
    ply = 0
    for statement in _statements(text):
        if _MOVE.match(statement):
            ply += 1
        elif ply and (found := _EVAL.match(statement)):
            value = max(-EVAL_LIMIT, min(EVAL_LIMIT, float(found[1])))  # may be inf
            evals[ply - 1] = round(value)
    return evals


def _date(text: str) -> str | None:
    found = _DATE.search(text)
    return f"{found[1]}-{found[2]:0>2}-{found[3]:0>2}" if found else None


def _ratings(text: str) -> tuple[int, int]:
    if "_rate:" not in text:
        return 0, 0
    rates = {side: float(value) for side, value in _RATE.findall(text)}
    black, white = (rates.get(side, 0.0) for side in ("black", "white"))
    return _rating(black), _rating(white)


def _rating(value: float) -> int:
    return int(min(65535.0, max(0.0, value)) + 0.5)  # it may be infinite
