"""KIF and KI2: one text to one game, the main line only.

rsshogi ends the main line in silence at a move that it cannot read, and refuses some
lines that say nothing about the moves. So the text is tidied first: lines that carry
no move are dropped, notations that differ only in writing are made alike, and the
moves that are written are counted against those that were read.
"""

import re
import unicodedata

import numpy as np
from rsshogi.record import Record

from maou.convert.coding import coded_moves
from maou.convert.endings import (
    BLACK,
    DRAW,
    WHITE,
    black_to_move,
    decided_by_rules,
    result_of,
    token_of,
)
from maou.convert.games import (
    STANDARD_START,
    Game,
    Rejected,
    guarded,
    require_whole_set,
    start_of,
    survives,
)

_KANJI = "一二三四五六七八九"
_WIDE = "１２３４５６７８９"
_MARKS = "▲△▼▽☗☖"
_FILES = "  ９ ８ ７ ６ ５ ４ ３ ２ １"
_PIECES = "歩香桂銀金角飛王玉と杏圭全馬龍竜成"

_NUMBERED = re.compile(r"\s*(\d+)(?:手目)?[\s:：.、]+(\S.*)$")
_DESTINATION = re.compile(
    rf"(同|[1-9１-９][1-9１-９{_KANJI}])\s*(?=[{_PIECES}])",
)
_ORIGIN = re.compile(r"\(([1-9１-９])([1-9１-９])\)")
_BEFORE_CLOSING = re.compile(r"(?<![ \t\u3000])[ \t\u3000]+(?=まで)")
_MADE = re.compile(r"[ \t\u3000]*まで")
_ILLEGAL = re.compile(r"illegal move at index (\d+)")
_DATE = re.compile(
    r"^(?:開始日時|対局日時?|日付|終了日時)[：:]\s*"
    r"(\d{4})\s*[/年.-]\s*(\d{1,2})\s*[/月.-]\s*(\d{1,2})",
    re.MULTILINE,
)
_HANDICAP = re.compile(r"^手合割[：:][ \t\u3000]*(\S*)", re.MULTILINE)
_WINNER = re.compile(r"(先手|下手|後手|上手)の?(勝|反則勝|入玉勝|反則負|負)")
_KNOWN_STARTS = {"", "平手", "なし"}

# Words for an ending that rsshogi does not know: token, and who wins as seen from the
# side to move (1 it wins, -1 it loses, 0 a draw).
_WORDS = {
    "時間切れ": ("%TIME_UP", -1),
    "時間切れ負け": ("%TIME_UP", -1),
    "時間切": ("%TIME_UP", -1),
    "宣言勝ち": ("%KACHI", 1),
    "勝ち宣言": ("%KACHI", 1),
    "入玉宣言": ("%KACHI", 1),
    "引き分け": ("%HIKIWAKE", 0),
    "引分け": ("%HIKIWAKE", 0),
    "引分": ("%HIKIWAKE", 0),
    "詰": ("%TSUMI", -1),
    "投降": ("%TORYO", -1),
}
_MOST_DIGITS = 18  # of a move's number; Python refuses to read thousands
_MOST_TOKENS = 100_000

_REPLACEMENT_DAMAGE = ("\ufffd", "ｿｽ")
"""A replacement character, and what one looks like after it went through Shift-JIS."""


def parse_kif(text: str) -> Game:
    """Parse a KIF text.

    Args:
        text: decoded text with `\\n` line ends.

    Raises:
        Rejected: no game that can be converted.
    """
    header, numbered, closing = _kif_lines(text)
    if not numbered:
        if sum(text.count(mark) for mark in _MARKS) > 1 and "手数＝" not in text:
            return parse_ki2(text)
        _require_game(header, [], Record.from_kif_str)
        raise Rejected("no moves: the file holds no game, only a header or a position")
    first = numbered[0][0]
    for ply, (number, _) in enumerate(numbered, 1):
        if number != first + ply - 1:
            raise Rejected(
                f"unreadable: move number {number} follows {first + ply - 2}; lines "
                "are missing, or the file holds more than one game",
                ply,
            )
    body = [f"{number} {move}" for number, move in numbered]
    whole = "\n".join([*header, *body, *closing, ""])
    try:
        record = guarded(Record.from_kif_str, whole)
    except ValueError as error:
        written = [move for _, move in numbered]
        raise _diagnose(header, written, str(error), Record.from_kif_str) from None
    plies = record.move_count
    _require_game(header, [move for _, move in numbered], Record.from_kif_str)
    extra = numbered[plies:]
    last = extra[0][1] if extra else ""
    unknown = record.main_terminal is None or record.main_terminal.kind == "UNKNOWN"
    odd = unknown and bool(last) and _word(last) not in _WORDS
    if odd and (len(extra) > 1 or _looks_like_move(last)):
        raise _unreadable(last, plies + 1)
    if len(extra) > 1:
        raise Rejected(
            f"unreadable: {extra[1][1]!r} follows the end of the game", plies + 1
        )
    return _game(record, text, last, closing)


def parse_ki2(text: str) -> Game:
    """Parse a KI2 text.

    Args:
        text: decoded text with `\\n` line ends.

    Raises:
        Rejected: no game that can be converted.
    """
    header, tokens, closing = _ki2_tokens(text)
    _require_game(header, tokens, Record.from_ki2_str)
    if not tokens:
        raise Rejected("no moves: the file holds no game, only a header or a position")
    if len(tokens) > _MOST_TOKENS:
        raise Rejected(f"too long: {len(tokens)} moves")

    def parse(count: int) -> Record:
        whole = "\n".join([*header, *tokens[:count], *closing, ""])
        if not survives(Record.from_ki2_str, whole):
            raise ValueError("the parser failed")
        return guarded(Record.from_ki2_str, whole)

    try:
        record = parse(len(tokens))
    except ValueError:
        good, bad = 0, len(tokens)  # the longest start of the game that can be read
        while bad - good > 1:
            middle = (good + bad) // 2
            try:
                parse(middle)
                good = middle
            except ValueError:
                bad = middle
        if _looks_like_move(tokens[good].lstrip(_MARKS)):
            text = f"illegal move: {tokens[good]} is not legal, or not unique"
            raise Rejected(text, bad) from None
        raise _unreadable(tokens[good], bad) from None
    plies = record.move_count
    extra = tokens[plies:]
    if len(extra) > 1 or (extra and _looks_like_move(extra[0].lstrip(_MARKS))):
        raise _unreadable(extra[0], plies + 1)
    return _game(record, text, extra[0].lstrip(_MARKS) if extra else "", closing)


def _kif_lines(text: str) -> tuple[list[str], list[tuple[int, str]], list[str]]:
    """Split a KIF text into header, numbered lines and the closing `まで` line."""
    header: list[str] = []
    numbered: list[tuple[int, str]] = []
    closing: list[str] = []
    for line in text.split("\n"):
        if line.startswith("変化"):
            break
        if line[:1] in ("#", "*", "&") or line.startswith(("手数＝", "手数=")):
            continue
        if _MADE.match(line):
            closing = closing or [line.strip()]
            continue
        found = None if line.split() == _FILES.split() else _NUMBERED.match(line)
        if found:
            numbered.append((int(found[1][:_MOST_DIGITS]), _tidy(found[2])))
        elif not numbered and _is_header(line):
            header.append(line)
    return _plain_header(header), numbered, closing


def _is_header(line: str) -> bool:
    return (
        "：" in line
        or ":" in line
        or line.startswith(("|", "手数----"))
        or line.strip() in ("先手番", "後手番", "上手番", "下手番")
    )


def _plain_side(found: re.Match[str]) -> str:
    return "後手" if found[1] == "上手" else "先手"


def _plain_header(header: list[str]) -> list[str]:
    """Write a diagram as rsshogi expects it, which knows it by the line of files.

    Raises:
        Rejected: the diagram has not nine ranks.
    """
    lines = [re.sub("^(上手|下手)(?=の持駒|番)", _plain_side, line) for line in header]
    ranks = [i for i, line in enumerate(lines) if line.startswith("|")]
    if ranks:
        if len(ranks) != 9:
            raise Rejected(f"unreadable: the diagram has {len(ranks)} ranks, not 9")
        lines.insert(ranks[0], _FILES)
    return lines


def _tidy(move: str) -> str:
    """Write a move as rsshogi expects it: `７六歩(77)`, without a side's mark."""
    move = move.lstrip(_MARKS + " \u3000")

    def destination(found: re.Match[str]) -> str:
        square = found[1]
        if square == "同":
            return "同\u3000"
        file = _WIDE[int(unicodedata.digit(square[0])) - 1]
        rank = square[1]
        return file + (rank if rank in _KANJI else _KANJI[unicodedata.digit(rank) - 1])

    move = _DESTINATION.sub(destination, move, count=1)
    return _ORIGIN.sub(
        lambda m: f"({unicodedata.digit(m[1])}{unicodedata.digit(m[2])})", move, count=1
    )


def _ki2_tokens(text: str) -> tuple[list[str], list[str], list[str]]:
    """Split a KI2 text into header, moves (each with its side's mark) and closing."""
    header: list[str] = []
    tokens: list[str] = []
    closing: list[str] = []
    for line in _BEFORE_CLOSING.sub("\n", text).split("\n"):
        if line.startswith("変化"):
            break
        if line[:1] in ("#", "*", "&") or line.startswith(("手数＝", "手数=")):
            continue
        if _MADE.match(line):
            closing = closing or [line.strip()]
        elif line.lstrip()[:1] in _MARKS and line.strip():
            for part in re.findall(rf"[{_MARKS}][^{_MARKS}]*", line):
                move, *rest = re.split(r"[ \t\u3000]+", part.strip())
                if move.endswith("同") and rest:
                    move += "\u3000" + rest.pop(0)
                tokens.append(move[0] + _tidy(move[1:]))
                if any(_looks_like_move(token) for token in rest):
                    raise _unreadable(rest[0], len(tokens) + 1)
        elif not tokens and _is_header(line):
            header.append(line)
        elif _looks_like_move(line.strip()):
            raise _unreadable(line.strip(), len(tokens) + 1)
    return _plain_header(header), tokens, closing


def _looks_like_move(text: str) -> bool:
    return _DESTINATION.match(text) is not None


def _word(text: str) -> str:
    return re.split(r"[\s(（]", text, maxsplit=1)[0]


def _unreadable(move: str, ply: int) -> Rejected:
    shown = move.split("(", 1)[0].strip()[:40]
    if any(sign in move for sign in _REPLACEMENT_DAMAGE):
        return Rejected(
            f"unreadable: {shown!r}: the characters were lost before this file was "
            "written (replacement characters)",
            ply,
        )
    return Rejected(f"unreadable: {shown!r} is not a move", ply)


def _require_game(header: list[str], moves: list[str], parse: object) -> None:
    """Check the start position that a header sets up.

    Raises:
        Rejected: a handicap, missing pieces, or a start that is named but not shown.
    """
    assert callable(parse)
    if not moves:
        return
    start = start_of(parse, "\n".join([*header, ""]))
    if start is None:
        return
    named = _HANDICAP.search("\n".join(header))
    if named and start == STANDARD_START and named[1] not in _KNOWN_STARTS:
        diagram = any(line.startswith("|") for line in header)
        if not diagram:
            raise Rejected(f"handicap: {named[1]}, and the file shows no position")
    try:
        require_whole_set(start)
    except Rejected as reject:
        if named and named[1] not in (*_KNOWN_STARTS, "その他"):
            text = reject.reason.split(": ", 1)[1]
            raise Rejected(f"handicap: {named[1]}: {text}") from None
        raise


def _diagnose(
    header: list[str], written: list[str], error: str, parse: object
) -> Rejected:
    try:
        _require_game(header, written, parse)
    except Rejected as reject:
        return reject
    illegal = _ILLEGAL.search(error)
    if illegal is None:
        return Rejected(f"unreadable: {error}")
    ply = int(illegal[1]) + 1
    return Rejected(f"illegal move: {written[ply - 1].split('  ', 1)[0].strip()}", ply)


def _game(record: Record, text: str, last: str, closing: list[str]) -> Game:
    start = record.init_position_sfen
    moves = coded_moves([entry.move for entry in record.moves])
    plies = len(moves)
    if not plies:
        raise Rejected("no moves: the game ends before its first move")
    require_whole_set(start)
    result, status = result_of(record), ""
    if result is not None:
        status = token_of(record, result, plies)
    elif _word(last) in _WORDS:
        status, sign = _WORDS[_word(last)]
        mover_is_black = black_to_move(start, plies)
        result = DRAW if sign == 0 else BLACK if mover_is_black == (sign > 0) else WHITE
    else:
        result = _closing_winner(closing)
        status = "%CHUDAN"
    if result is None:
        stated = _word(last) or (closing[0] if closing else "")
        result, status = decided_by_rules(record, stated)
    found = _DATE.search(text)
    date = f"{found[1]}-{found[2]:0>2}-{found[3]:0>2}" if found else None
    evals = np.zeros(plies, dtype=np.int32)
    return Game(start, moves, evals, result, status, date, (0, 0))


def _closing_winner(closing: list[str]) -> int | None:
    """Read the winner from a line such as `まで87手で先手の勝ち`."""
    found = _WINNER.search(closing[0]) if closing else None
    if found is None:
        return None
    black = (found[1] in ("先手", "下手")) == ("負" not in found[2])
    return BLACK if black else WHITE
