"""How a game ended and who won, from its record, its text or the final position."""

import re

from rsshogi.core import Board
from rsshogi.record import GameResult, Record
from rsshogi.types import Color, RepetitionState

from maou.convert.games import Rejected

DRAW, BLACK, WHITE = 0, 1, 2


def _code(result: GameResult) -> int | None:
    if result.is_black_win():
        return BLACK
    if result.is_white_win():
        return WHITE
    return DRAW if result.is_draw() else None


_CODES = {result.value: _code(result) for result in GameResult.__members__.values()}

_TOKENS = {
    "RESIGN": "%TORYO",
    "MATE": "%TSUMI",
    "TIMEOUT": "%TIME_UP",
    "WIN_BY_DECLARATION": "%KACHI",
    "REPETITION_DRAW": "%SENNICHITE",
    "IMPASSE": "%JISHOGI",
    "DRAW": "%HIKIWAKE",
    "MAX_MOVES": "%MAX_MOVES",
    "WIN_BY_DEFAULT": "%FUSEN",
    "LOSE_BY_DEFAULT": "%FUSEN",
}

# Floodgate's servers write one line that names both players' results. It counts more
# than the token: a wrong declaration is logged as `%KACHI` with the declarer losing,
# and endings such as a repetition have no token at all in older files.
_SUMMARY = re.compile(
    r"'summary:([^:\n]+):.* (win|lose|draw):.* (win|lose|draw)[ \t]*$"
)
_SUMMARY_RESULTS = {
    ("win", "lose"): BLACK,
    ("lose", "win"): WHITE,
    ("draw", "draw"): DRAW,
}
_SUMMARY_TOKENS = {
    "toryo": "%TORYO",
    "time up": "%TIME_UP",
    "kachi": "%KACHI",
    "try": "%KACHI",
    "sennichite": "%SENNICHITE",
    "jishogi": "%JISHOGI",
    "max_moves": "%MAX_MOVES",
    "abnormal": "%CHUDAN",
    "illegal move": "%ILLEGAL_MOVE",
    "illegal kachi": "%ILLEGAL_MOVE",
    "uchifuzume": "%ILLEGAL_MOVE",
    "oute_kaihimore": "%ILLEGAL_MOVE",
    "outori": "%ILLEGAL_MOVE",
}


def result_of(record: Record) -> int | None:
    """Return the result that the record states: 0, 1, 2, or None."""
    return _CODES[record.result.value]


def black_to_move(start: str, plies: int) -> bool:
    """Tell whose turn it is some plies after a start position."""
    return (" b " in start) == (plies % 2 == 0)


def token_of(record: Record, result: int, plies: int) -> str:
    """Return CSA's token for the way a KIF or KI2 game ended."""
    terminal = record.main_terminal
    kind = terminal.kind if terminal is not None else ""
    if "ILLEGAL_MOVE" in kind:
        return illegal_token(record.init_position_sfen, plies, result)
    return _TOKENS.get(kind, "%CHUDAN")


def illegal_token(start: str, plies: int, result: int) -> str:
    """Return CSA's token for a game lost by breaking a rule.

    `%ILLEGAL_MOVE` means the side to move broke it; the other two name the side.
    """
    if (result == WHITE) == black_to_move(start, plies):
        return "%ILLEGAL_MOVE"
    return "%-ILLEGAL_ACTION" if result == BLACK else "%+ILLEGAL_ACTION"


def floodgate_summary(text: str, start: str, plies: int) -> tuple[int, str] | None:
    """Read result and token from a game server's `'summary:` line, if there is one."""
    at = text.rfind("\n'summary:")
    if at < 0:
        return None
    line = _SUMMARY.match(text[at + 1 :].split("\n", 1)[0])
    result = _SUMMARY_RESULTS.get((line[2], line[3])) if line else None
    if line is None or result is None:
        return None
    if line[1] == "oute_sennichite":
        return result, "%-ILLEGAL_ACTION" if result == BLACK else "%+ILLEGAL_ACTION"
    ending = _SUMMARY_TOKENS.get(line[1], "%CHUDAN")
    if ending.endswith("ILLEGAL_MOVE") and result != DRAW:
        ending = illegal_token(start, plies, result)
    return result, ending


def decided_by_rules(record: Record, stated: str) -> tuple[int, str]:
    """Find the result of a game whose file states none.

    Mate ends a game, and so does the fourth occurrence of a position.

    Args:
        record: the game.
        stated: the end that the file states, for the message; empty for none.

    Raises:
        Rejected: the final position decides nothing.
    """
    start, entries = record.init_position_sfen, record.moves
    board = Board(start)
    for entry in entries:
        board.push_move(entry.move)
    mover, other = (BLACK, WHITE) if board.turn == Color.BLACK else (WHITE, BLACK)
    if board.is_mated():
        return other, "%TSUMI"
    state = board.repetition_state()  # of the fourth occurrence; NONE before it
    if state == RepetitionState.DRAW:
        return DRAW, "%SENNICHITE"
    if state in (RepetitionState.WIN, RepetitionState.LOSE):
        result = mover if state == RepetitionState.WIN else other
        return result, illegal_token(start, len(entries), result)
    if stated:
        raise Rejected(f"unfinished: {stated} gives no result", len(entries))
    raise Rejected("unfinished: the file states no result", len(entries))
