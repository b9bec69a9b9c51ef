"""Legality of single moves and positions against cshogi and rsshogi."""

from collections import Counter

import cshogi
import numpy as np
import numpy.typing as npt
import pytest
from rsshogi.core import Board

from maou.convert.coding import coded_moves
from maou.shogi import legality
from maou.shogi.hcp import decode_hcp
from maou.shogi.legality import judge_rows
from maou.shogi.notation import sfen_of, usi_of

EVERY_MOVE = np.arange(1 << 16, dtype=np.uint16)
KINDS = "PLNSGBR"
FULL_SET = dict(zip(KINDS, (18, 4, 4, 4, 4, 2, 2), strict=True))
Rows = npt.NDArray[np.uint8]


def judged(code: Rows) -> legality.Verdicts:
    """Judge every number that a move16 can be in one position."""
    board, hand, status = decode_hcp(code[None])
    assert not status.any()
    count = len(EVERY_MOVE)
    turn = np.full(count, code[0] & 1, dtype=np.uint8)
    boards, hands = np.repeat(board, count, axis=0), np.repeat(hand, count, axis=0)
    return judge_rows(boards, hands, EVERY_MOVE, turn)


def legal_by_rsshogi(board: Board) -> set[int]:
    return set(coded_moves(board.legal_moves()).tolist())


def assert_agrees(code: Rows) -> Counter[int]:
    """Compare the legal moves of a position; return how often each reason came."""
    found = judged(code)
    assert not found.fault_B.any()
    legal = set(np.flatnonzero(found.move_B == legality.LEGAL).tolist())
    board = Board()
    board.set_hcp(code.tobytes())
    assert legal == legal_by_rsshogi(board), board.to_sfen()
    other = cshogi.Board()
    other.set_hcp(code)
    # cshogi leaves out moves that are legal but never better, such as a lance that
    # goes to the second rank without promoting.
    by_cshogi = {cshogi.move16(move) for move in other.legal_moves}
    assert by_cshogi <= legal, board.to_sfen()
    return Counter(found.move_B.tolist())


def test_every_move_of_real_positions(selfplay_rows: Rows) -> None:
    reasons: Counter[int] = Counter()
    for row in selfplay_rows[::500]:
        reasons += assert_agrees(np.ascontiguousarray(row[:32]))
    assert set(legality.MOVE_TEXT) - set(reasons) <= {legality.PAWN_MATE}


def test_every_move_of_random_games() -> None:
    rng = np.random.default_rng(5)
    code = np.zeros(1, dtype=cshogi.HuffmanCodedPos)
    for _ in range(8):
        board = cshogi.Board()
        for ply in range(240):
            moves = list(board.legal_moves)
            if not moves:
                break
            board.push(moves[rng.integers(len(moves))])
            if ply % 24 == 23:
                board.to_hcp(code)
                assert_agrees(code["hcp"][0].copy())


def test_the_recorded_moves_of_real_rows_are_legal(selfplay_rows: Rows) -> None:
    board, hand, _ = decode_hcp(selfplay_rows)
    moves = np.ascontiguousarray(selfplay_rows[:, 34:36]).view("<u2")[:, 0]
    found = judge_rows(board, hand, moves, selfplay_rows[:, 0] & 1)
    assert not found.fault_B.any()
    assert not found.move_B.any()


def completed(squares: str, held: str = "P", turn: str = "b") -> str:
    """Complete a board to a full set: the rest goes to the side not to move."""
    counts = Counter(char.upper() for char in squares if char.upper() in KINDS)
    counts += Counter(held)
    rest = "".join(
        f"{FULL_SET[kind] - counts[kind]}{kind.lower() if turn == 'b' else kind}"
        for kind in "RBGSNLP"
        if FULL_SET[kind] > counts[kind]
    )
    own = held if turn == "b" else held.lower()
    hands = own + rest if turn == "b" else rest + own
    return f"{squares} {turn} {hands} 1"


def code_of(sfen: str) -> Rows:
    """Code a position that cshogi accepts without looking whether it can occur."""
    code = np.zeros(1, dtype=cshogi.HuffmanCodedPos)
    cshogi.Board(sfen).to_hcp(code)
    return code["hcp"][0].copy()


@pytest.mark.parametrize(
    ("squares", "mates"),
    [
        ("7lk/7p1/7G1/9/9/9/9/9/K8", True),  # guarded by the gold
        ("7lk/7p1/9/7N1/9/9/9/9/K8", True),  # guarded by the knight
        ("7lk/7p1/9/9/9/9/9/9/K8", False),  # the king takes the pawn
        ("8k/9/7G1/9/9/9/9/9/K8", False),  # the king steps aside
        ("6glk/7p1/7G1/9/9/9/9/9/K8", True),
        ("7lk/6gp1/7G1/9/9/9/9/9/K8", True),  # the gold does not reach
        ("7lk/7g1/9/7N1/9/9/9/9/K8", False),  # the gold takes the pawn
        ("7lk/7g1/9/5B1N1/9/9/9/9/K8", True),  # the gold is pinned
        ("7lk/7n1/7G1/9/9/9/9/9/K8", True),
        ("8k/7b1/7G1/9/9/9/9/9/K8", False),  # it can step to 2a
        ("7nk/7pb/9/9/9/9/9/9/K8", False),  # no room for a pawn
    ],
)
def test_mate_by_a_pawn_drop(squares: str, mates: bool) -> None:
    for turn, board in (("b", squares), ("w", squares[::-1].swapcase())):
        board = board.replace("r+", "+r").replace("R+", "+R")  # noqa: PLW2901
        code = code_of(completed(board, turn=turn))
        reasons = assert_agrees(code)
        assert bool(reasons[legality.PAWN_MATE]) == mates, (turn, board)


def random_squares(rng: np.random.Generator, turn: str) -> str:
    """Put both kings and some pieces anywhere, the opponent's king near an edge."""
    left = dict(FULL_SET) | {"P": 17}
    cells = [""] * 81
    king = int(rng.integers(0, 2)) * 9 + int(rng.integers(9))
    near = [
        s for s in range(81) if max(abs(s // 9 - king // 9), abs(s % 9 - king % 9)) < 4
    ]
    cells[king] = "k"
    own = int(rng.integers(45, 81))
    cells[own] = "K"
    for _ in range(int(rng.integers(4, 14))):
        at = int(rng.choice(near))
        kind = KINDS[int(rng.integers(7))]
        if cells[at] or not left[kind]:
            continue
        left[kind] -= 1
        promoted = "+" if kind != "G" and rng.random() < 0.2 else ""
        cells[at] = promoted + (kind if rng.random() < 0.5 else kind.lower())
    if turn == "w":
        cells = [cell.swapcase() for cell in cells[::-1]]
    ranks = []
    for rank in range(9):
        text = "".join(cell or "1" for cell in cells[9 * rank : 9 * rank + 9])
        for gap in range(9, 1, -1):
            text = text.replace("1" * gap, str(gap))
        ranks.append(text)
    return "/".join(ranks)


def test_random_positions_can_occur_and_their_moves() -> None:
    """rsshogi and cshogi say which positions are possible, and which moves legal."""
    rng = np.random.default_rng(11)
    faults: Counter[int] = Counter()
    reasons: Counter[int] = Counter()
    board = Board()
    for number in range(500):
        turn = "bw"[number % 2]
        sfen = completed(random_squares(rng, turn), turn=turn)
        code = code_of(sfen)
        decoded, hand, status = decode_hcp(code[None])
        assert not status.any()
        assert sfen_of(decoded[0], hand[0], number % 2) == cshogi.Board(sfen).sfen()
        found = judge_rows(
            decoded, hand, np.zeros(1, np.uint16), np.array([number % 2], np.uint8)
        )
        fault = int(found.fault_B[0])
        faults[fault] += 1
        other = sfen.replace(f" {turn} ", f" {'wb'[number % 2]} ")
        taken = cshogi.Board(other).is_check()
        assert taken == bool(fault & legality.KING_TAKEN), sfen
        try:
            board.set_sfen(sfen)
            placed = board.is_valid()  # it does not look whether the king can be taken
        except ValueError:
            placed = False
        assert placed == (fault & ~legality.KING_TAKEN == 0), (sfen, fault)
        if fault == 0 and reasons.total() < 60 << 16:
            reasons += assert_agrees(code)
    for flag in legality.POSITION_TEXT:
        assert sum(count for fault, count in faults.items() if fault & flag) > 5
    assert faults[0] > 60


def test_moves_are_named_as_in_usi(selfplay_rows: Rows) -> None:
    board = cshogi.Board()
    for row in selfplay_rows[::1000]:
        board.set_hcp(np.ascontiguousarray(row[:32]))
        for move in board.legal_moves:
            assert usi_of(cshogi.move16(move)) == cshogi.move_to_usi(move)
    assert usi_of(0) == "none"
    assert usi_of(0x7FFF) == "0x7fff"
