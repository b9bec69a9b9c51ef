"""CSA texts to games and rejects."""

import pytest
from rsshogi.core import AperyMove

from maou.convert.games import Game, Rejected, parse_games

HEAD = "V2.2\nN+a\nN-b\nPI\n+\n"
MOVES = "+7776FU\n-3334FU\n"


def parse(text: str | bytes) -> list[Game | Rejected]:
    data = text if isinstance(text, bytes) else text.encode()
    return list(parse_games(data, "csa"))


def game(text: str | bytes) -> Game:
    (made,) = parse(text)
    assert isinstance(made, Game), made
    return made


def usi(made: Game) -> list[str]:
    return [AperyMove(int(move)).to_usi() for move in made.moves & 0x7FFF]


def reject(text: str | bytes) -> tuple[int, str]:
    (made,) = parse(text)
    assert isinstance(made, Rejected), made
    return made.ply, made.reason


@pytest.mark.parametrize(
    ("ending", "result"),
    [
        ("%TORYO", 2),
        ("%TSUMI", 2),
        ("%TIME_UP", 2),
        ("%ILLEGAL_MOVE", 2),
        ("%+ILLEGAL_ACTION", 2),
        ("%-ILLEGAL_ACTION", 1),
        ("%KACHI", 1),
        ("%SENNICHITE", 0),
        ("%JISHOGI", 0),
        ("%HIKIWAKE", 0),
        ("%MAX_MOVES", 0),
    ],
)
def test_endings_after_two_moves(ending: str, result: int) -> None:
    made = game(f"{HEAD}{MOVES}{ending}\nT3\n")
    assert (made.result, made.status) == (result, ending)


@pytest.mark.parametrize(
    "ending", ["%CHUDAN", "%MATTA", "%ERROR", "%FUZUMI", "%ILLEGAL_ACTION", "%WHAT"]
)
def test_endings_without_a_result(ending: str) -> None:
    assert reject(f"{HEAD}{MOVES}{ending}\n") == (
        2,
        f"unfinished: {ending} gives no result",
    )


def test_a_game_that_just_stops() -> None:
    assert reject(HEAD + MOVES) == (2, "unfinished: the file states no result")


def test_evaluations_are_blacks_view_and_mates_survive() -> None:
    text = (
        f"{HEAD}+7776FU\n'** 57 -3334FU +2726FU\nT1\n-3334FU\nT1\n"
        "+2726FU\n'** -100000 -8384FU\n-8384FU\n'** 32767\n%TORYO\n"
    )
    assert game(text).evals.tolist() == [57, 0, -32767, 32767]
    assert game(HEAD + MOVES + "%TORYO\n").evals.tolist() == [0, 0]


def test_floodgate_ratings_and_date() -> None:
    text = (
        "V2\nN+a\nN-b\n'Max_Moves:256\n$EVENT:wdoor+floodgate-300-10F+a+b+2020\n"
        "$START_TIME:2020/01/02 03:04:05\nPI\n+\n'rating:a+h:b+h\n"
        "'black_rate:a+h:3456.5\n'white_rate:b+h:-12.0\n" + MOVES + "%TORYO\n"
        "'P1-KY-KE\n'summary:toryo:a lose:b win\n'$END_TIME:2020/01/02 04:00:00\n"
    )
    made = game(text)
    assert made.ratings == (3457, 0)
    assert made.date == "2020-01-02"
    assert (made.result, made.status) == (2, "%TORYO")


@pytest.mark.parametrize(
    ("token", "summary", "result", "status"),
    [
        ("%KACHI\n", "illegal kachi:a lose:b win", 2, "%ILLEGAL_MOVE"),
        ("", "sennichite:a draw:b draw", 0, "%SENNICHITE"),
        ("", "oute_sennichite:a lose:b win", 2, "%+ILLEGAL_ACTION"),
        ("", "time up:a lose:b win", 2, "%TIME_UP"),
        ("", "illegal move:a lose:b win", 2, "%ILLEGAL_MOVE"),
        ("", "uchifuzume:a win:b lose", 1, "%-ILLEGAL_ACTION"),
        ("", "max_moves:a draw:b draw", 0, "%MAX_MOVES"),
        ("%CHUDAN\n", "abnormal:a win:b lose", 1, "%CHUDAN"),
        ("%TORYO\n", "abnormal:a win:b lose", 1, "%TORYO"),
    ],
)
def test_a_servers_summary_decides(
    token: str, summary: str, result: int, status: str
) -> None:
    made = game(f"{HEAD}{MOVES}{token}'summary:{summary}\n")
    assert (made.result, made.status) == (result, status)


def test_mate_on_the_board_is_a_result() -> None:
    text = (
        "P1 *  *  *  * -OU *  *  *  * \nP2 *  *  *  *  *  *  *  *  * \n"
        "P3 *  *  *  * +FU *  *  *  * \nP9 *  *  *  * +OU *  *  *  * \n"
        "P+00KI\nP-00AL\n+\n+0052KI\n"
    )
    made = game(text)
    assert (made.result, made.status) == (1, "%TSUMI")


def test_the_fourth_repetition_is_a_draw() -> None:
    cycle = "+2838HI\n-8272HI\n+3828HI\n-7282HI\n"
    assert game(HEAD + cycle * 3).status == "%SENNICHITE"
    assert reject(HEAD + cycle * 2)[0] == 8


def test_perpetual_check_loses() -> None:
    text = (
        "P1 *  *  *  * -OU *  *  *  * \nP9+HI *  *  *  * +OU *  *  * \n"
        "P-00AL\n+\n+9991HI\n"
    )
    cycle = "-5152OU\n+9192HI\n-5251OU\n+9291HI\n"
    made = game(text + cycle * 3)
    assert (made.result, made.status) == (2, "%+ILLEGAL_ACTION")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp932"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_encodings_and_line_ends(encoding: str, newline: str) -> None:
    text = ("V2.2\nN+先手太郎\nPI\n+\n" + MOVES + "%TORYO\n").replace("\n", newline)
    assert len(game(text.encode(encoding)).moves) == 2


def test_statements_share_lines() -> None:
    made = game("PI,+\n+7776FU,T1\n-3334FU,T2,+2726FU\n%TORYO,T3\n")
    assert usi(made) == ["7g7f", "3c3d", "2g2f"]
    assert (made.result, made.status) == (1, "%TORYO")


@pytest.mark.parametrize(
    ("text", "ply", "says"),
    [
        (HEAD + "+7776FU\n-33", 2, "unreadable: '-33'"),
        (HEAD + MOVES + "+8822KA+\n%TORYO\n", 3, "unreadable: '+8822KA+'"),
        (HEAD + MOVES + "+2625FU\n%TORYO\n", 3, "illegal move: +2625FU"),
        (HEAD + "+7776KI\n%TORYO\n", 1, "illegal move: +7776KI"),
        (HEAD + "+7776FU\n+2726FU\n%TORYO\n", 2, "side not to move"),
        (HEAD + "%TORYO\n", 0, "no moves"),
        (HEAD + MOVES + "hello\n%TORYO\n", 0, "unreadable: invalid CSA line: hello"),
        (HEAD + MOVES + "%TORYO\n+2726FU\n", 2, "3 moves are written"),
    ],
)
def test_rejects_name_move_and_reason(text: str, ply: int, says: str) -> None:
    made = reject(text)
    assert made[0] == ply
    assert says in made[1]


def test_games_that_lack_separators_are_told_apart() -> None:
    one = HEAD + MOVES + "%TORYO\n"
    made = parse(one + HEAD + "+2726FU\n%TORYO\n" + HEAD + "+7775FU\n%TORYO\n")
    assert [type(item).__name__ for item in made] == ["Game", "Game", "Rejected"]


def test_handicap_and_other_starts() -> None:
    handicap = "PI82HI22KA\n-\n-3334FU\n%TORYO\n"
    assert reject(handicap)[1].startswith("handicap: the start position has 38 of 40")
    custom = "PI\nP+27FU\n".replace("P+27FU\n", "") + "+\n+2726FU\n%TORYO\n"
    assert game(custom).result == 1


def test_bytes_that_are_no_text() -> None:
    assert reject(b"\xff\xfe\x00\x81")[1].startswith("unreadable: neither UTF-8")


def test_numbers_of_any_length_are_bounded() -> None:
    long = "9" * 400
    text = (
        f"V2.2\nPI\n+\n'black_rate:a:{long}\n+7776FU\n'** {long}.5 \n-3334FU\n"
        f"'** -{long}.5 x\n%TORYO\n"
    )
    (game,) = parse_games(text.encode(), "csa")
    assert isinstance(game, Game)
    assert game.ratings == (65535, 0)
    assert game.evals.tolist() == [32767, -32767]


def test_games_beyond_counting_are_one_reject() -> None:
    (found,) = parse_games(b"V2\n" * 30_000, "csa")
    assert isinstance(found, Rejected)
    assert "30000 games" in found.reason or "29999 games" in found.reason
