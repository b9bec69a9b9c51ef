"""KIF and KI2 texts to games and rejects."""

import pytest
from rsshogi.core import AperyMove

from maou.convert.games import Game, Rejected, parse_games

HEAD = "手合割：平手\n先手：a\n後手：b\n手数----指手---------消費時間--\n"
MOVES = "   1 ７六歩(77)   ( 0:05/00:00:05)\n   2 ３四歩(33)   ( 0:07/00:00:07)\n"
DIAGRAM = """後手の持駒：なし
  ９ ８ ７ ６ ５ ４ ３ ２ １
+---------------------------+
|v香v桂v銀v金v玉v金v銀v桂v香|一
| ・v飛 ・ ・ ・ ・ ・v角 ・|二
|v歩v歩v歩v歩v歩v歩v歩v歩v歩|三
| ・ ・ ・ ・ ・ ・ ・ ・ ・|四
| ・ ・ ・ ・ ・ ・ ・ ・ ・|五
| ・ ・ 歩 ・ ・ ・ ・ ・ ・|六
| 歩 歩 ・ 歩 歩 歩 歩 歩 歩|七
| ・ 角 ・ ・ ・ ・ ・ 飛 ・|八
| 香 桂 銀 金 玉 金 銀 桂 香|九
+---------------------------+
先手の持駒：なし
"""


def one(text: str, kind: str = "kif") -> Game | Rejected:
    (made,) = parse_games(text.encode("cp932"), kind)
    return made


def game(text: str, kind: str = "kif") -> Game:
    made = one(text, kind)
    assert isinstance(made, Game), made
    return made


def reject(text: str, kind: str = "kif") -> tuple[int, str]:
    made = one(text, kind)
    assert isinstance(made, Rejected), made
    return made.ply, made.reason


def usi(made: Game) -> list[str]:
    return [AperyMove(int(move)).to_usi() for move in made.moves]


@pytest.mark.parametrize(
    ("word", "result", "status"),
    [
        ("投了", 2, "%TORYO"),
        ("詰み", 2, "%TSUMI"),
        ("切れ負け", 2, "%TIME_UP"),
        ("時間切れ", 2, "%TIME_UP"),
        ("反則負け", 2, "%ILLEGAL_MOVE"),
        ("反則勝ち", 1, "%-ILLEGAL_ACTION"),
        ("入玉勝ち", 1, "%KACHI"),
        ("宣言勝ち", 1, "%KACHI"),
        ("千日手", 0, "%SENNICHITE"),
        ("持将棋", 0, "%JISHOGI"),
        ("引き分け", 0, "%HIKIWAKE"),
    ],
)
def test_endings(word: str, result: int, status: str) -> None:
    made = game(f"{HEAD}{MOVES}   3 {word}   ( 0:01/00:00:01)\n")
    assert (made.result, made.status) == (result, status)
    assert usi(made) == ["7g7f", "3c3d"]


@pytest.mark.parametrize(
    ("closing", "result", "status"),
    [
        ("まで2手で後手の勝ち", 2, "%TORYO"),
        ("まで2手で先手の勝ち", 1, "%TORYO"),
        ("まで2手で千日手", 0, "%SENNICHITE"),
        ("まで2手で時間切れにより後手の勝ち", 2, "%TIME_UP"),
        ("まで2手で先手の反則負け", 2, "%ILLEGAL_MOVE"),
    ],
)
def test_closing_lines(closing: str, result: int, status: str) -> None:
    made = game(f"{HEAD}{MOVES}{closing}\n")
    assert (made.result, made.status) == (result, status)


def test_unfinished() -> None:
    assert reject(HEAD + MOVES)[1] == "unfinished: the file states no result"
    assert reject(f"{HEAD}{MOVES}   3 中断\n") == (
        2,
        "unfinished: 中断 gives no result",
    )


@pytest.mark.parametrize(
    "first",
    [
        "1 ７六歩(77)",
        "1 7六歩(77)",
        "1 76歩(77)",
        "1 ７６歩(77)",
        "1 七六歩(77)".replace("七六", "７六"),
        "1 ▲７六歩(77)",
        "1 ７六歩(７七)".replace("七", "７"),
        "１　７六歩(77)",
        "1\t７六歩(77)",
        "1：７六歩(77)",
        "1 ７六歩(77)   ( 0:05/00:00:05)+",
    ],
)
def test_ways_to_write_a_move(first: str) -> None:
    assert usi(game(f"{HEAD}{first}\n2 ３四歩(33)\n3 投了\n")) == ["7g7f", "3c3d"]


def test_lines_without_moves_are_passed_over() -> None:
    text = (
        "# comment\n" + HEAD + "*begin\n&しおり\n" + MOVES + "**評価 1 ７六歩\n"
        "3 投了\nまで2手で後手の勝ち\n"
    )
    assert len(usi(game(text))) == 2


def test_variations_are_left_out() -> None:
    text = (
        f"{HEAD}{MOVES}3 投了\nまで2手で後手の勝ち\n\n変化：2手\n"
        "2 ８四歩(83)\n3 ２六歩(27)\n4 投了\n"
    )
    assert usi(game(text)) == ["7g7f", "3c3d"]


@pytest.mark.parametrize(
    ("body", "ply", "says"),
    [
        ("1 ７六歩(77)\n2 ほげ\n3 ２六歩(27)\n4 投了\n", 2, "unreadable: 'ほげ'"),
        ("1 ７六歩(77)\n2 ３四歩\n3 投了\n", 2, "unreadable: '３四歩'"),
        ("1 ７六歩(77)\n3 ２六歩(27)\n4 投了\n", 2, "move number 3 follows 1"),
        ("1 ７六歩(77)\n2 投了\n3 ２六歩(27)\n", 2, "follows the end of the game"),
        ("1 ７六歩(77)\n2 ３五歩(33)\n3 投了\n", 2, "illegal move: ３五歩(33)"),
        ("1 ５五歩打\n2 投了\n", 1, "illegal move: ５五歩打"),
        ("", 0, "no moves"),
        ("1 投了\n", 0, "no moves"),
    ],
)
def test_no_move_is_lost_in_silence(body: str, ply: int, says: str) -> None:
    made = reject(HEAD + body)
    assert made[0] == ply
    assert says in made[1]


def test_boards_with_all_pieces_convert() -> None:
    text = DIAGRAM + "後手番\n" + HEAD + "1 ３四歩(33)\n2 ２六歩(27)\n3 投了\n"
    made = game(text.replace("手合割：平手", "手合割：その他"))
    assert " w " in made.start
    assert (usi(made), made.result) == (["3c3d", "2g2f"], 1)
    # A board without frame, and a caption that names the last move.
    plain = [line for line in text.split("\n") if not line.startswith(("+", "  ９"))]
    caption = ["手数＝1  ▲７六歩  まで", *plain]
    assert usi(game("\n".join(caption))) == ["3c3d", "2g2f"]


@pytest.mark.parametrize("name", ["香落ち", "角落ち", "二枚落ち", "十枚落ち", "トンボ"])
def test_handicaps_are_named(name: str) -> None:
    text = HEAD.replace("平手", name) + "1 ３四歩(33)\n2 投了\n"
    made = reject(text)
    assert made[0] == 0
    assert made[1].startswith(f"handicap: {name}")


def test_missing_pieces() -> None:
    text = DIAGRAM.replace("v飛", " ・") + HEAD + MOVES + "3 投了\n"
    assert "39 of 40 pieces (1 R too few)" in reject(text)[1]
    text = DIAGRAM.replace("v玉", " ・") + HEAD + MOVES + "3 投了\n"
    assert reject(text)[1] == "pieces missing: the start position has no white king"


@pytest.mark.parametrize(
    "line",
    [
        "開始日時：2018/05/03 15:17",
        "対局日：2018/05/3(木)",
        "開始日時：2018年5月3日",
        "開始日時：2018-05-03",
    ],
)
def test_dates(line: str) -> None:
    assert game(f"{line}\n{HEAD}{MOVES}3 投了\n").date == "2018-05-03"


KI2 = "手合割：平手\n\n▲７六歩    △３四歩  ▲２二角成\n*comment ▲９六歩\n△同　銀\n"


def test_ki2() -> None:
    made = game(KI2 + "まで4手で後手の勝ち\n", "ki2")
    assert usi(made) == ["7g7f", "3c3d", "8h2b+", "3a2b"]
    assert (made.result, made.status) == (2, "%TORYO")
    assert usi(game(KI2 + "まで4手で後手の勝ち\n変化：2手\n△８四歩\n", "ki2")) == usi(
        made
    )
    assert usi(
        game(
            KI2.replace("▲", "☗")
            .replace("△", "☖")
            .encode("utf-8")
            .decode()
            .replace("☗", "▲")
            .replace("☖", "△")
            + "▲投了\n",
            "ki2",
        )
    ) == usi(made)
    # A KI2 text under the name of a KIF file is read as what it is.
    assert usi(game(KI2 + "まで4手で後手の勝ち\n", "kif")) == usi(made)


@pytest.mark.parametrize(
    ("text", "ply", "says"),
    [
        ("▲７六歩 △３四歩 ▲ほげ △８四歩\nまで\n", 3, "unreadable: '▲ほげ'"),
        ("▲７六歩 △３四歩 ▲５八金\nまで3手\n", 3, "illegal move: ▲５八金"),
        ("▲７六歩 △３三歩 ▲２六歩\nまで3手\n", 2, "illegal move: △３三歩"),
        ("▲７六歩 ３四歩\nまで2手で後手の勝ち\n", 2, "unreadable: '３四歩'"),
        ("７六歩 ３四歩\nまで2手で後手の勝ち\n", 1, "unreadable"),
        ("▲７六歩 △３四歩\n", 2, "unfinished"),
        ("手合割：角落ち\n△３四歩\nまで1手で上手の勝ち\n", 0, "handicap: 角落ち"),
        ("先手：a\n", 0, "no moves"),
    ],
)
def test_ki2_rejects(text: str, ply: int, says: str) -> None:
    made = reject(text, "ki2")
    assert made[0] == ply
    assert says in made[1]


def test_a_move_at_which_the_parser_aborts_is_one_reject() -> None:
    # rsshogi ends the process at a drop on a square that is taken.
    text = "▲７六歩 △３四歩 ▲２二角成 △同　銀 ▲３四角 △３三銀\n"
    (found,) = parse_games(text.encode(), "ki2")
    assert isinstance(found, Rejected)
    assert (found.ply, found.reason.split(":")[0]) == (5, "illegal move")


@pytest.mark.parametrize("number", ["9" * 5000, "１" * 40])
def test_a_move_number_of_any_length_is_no_move(number: str) -> None:
    (found,) = parse_games(f"手合割：平手\n{number} ７六歩(77)\n".encode(), "kif")
    assert isinstance(found, Rejected) or len(found.moves) == 1


def test_a_stretch_of_blanks_takes_no_time() -> None:
    text = "▲７六歩" + " \u3000" * 200_000 + "△３四歩\n"
    (found,) = parse_games(text.encode(), "ki2")
    assert found is not None
