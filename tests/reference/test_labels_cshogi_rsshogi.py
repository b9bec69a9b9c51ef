"""Move labels against cshogi's legal moves and rsshogi's label scheme.

rsshogi (like dlshogi) numbers 27 classes x 81 squares, and its 1496 leave out what
cannot occur, as ours do. The classes are the same but for the order of the drops:
pawn lance knight silver bishop rook gold there, gold before bishop here. So our class
and square must name its label, one to one.
"""

from typing import Any, NamedTuple

import cshogi
import numba
import numpy as np
import numpy.typing as npt
import pytest
import rsshogi.core
import rsshogi.policy
import rsshogi.types

from maou.shogi.labels import (
    LABEL_BOARD_INDEX,
    LABEL_CLASS,
    LABEL_SQUARE,
    MIRROR_LABEL,
    MOVE_LABEL,
    N_LABELS,
)
from maou.shogi.samples import decode_samples, move_label

RSSHOGI_DROPS = "PLNSBRG"
OUR_DROPS = "PLNSGBR"

FIRST = {
    "up": 0,
    "up-left": 72,
    "up-right": 136,
    "left": 200,
    "right": 272,
    "down": 344,
    "down-left": 416,
    "down-right": 480,
    "knight-left": 544,
    "knight-right": 584,
    "promote up": 624,
    "promote up-left": 651,
    "promote up-right": 675,
    "promote left": 699,
    "promote right": 723,
    "promote down": 747,
    "promote down-left": 819,
    "promote down-right": 868,
    "promote knight-left": 917,
    "promote knight-right": 941,
    "drop P": 965,
    "drop L": 1037,
    "drop N": 1109,
    "drop S": 1172,
    "drop G": 1253,
    "drop B": 1334,
    "drop R": 1415,
    "end": 1496,
}
"""The specification's table: a category's first label."""


@numba.njit
def _labels(
    moves: npt.NDArray[np.int64], turns: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    labels = np.empty(len(moves), dtype=np.int64)
    for i in range(len(moves)):
        labels[i] = move_label(moves[i], turns[i])
    return labels


class LegalMoves(NamedTuple):
    """All legal moves of the shipped positions, one after the other."""

    position: npt.NDArray[np.int64]
    turn: npt.NDArray[np.int64]
    move: npt.NDArray[np.int64]
    """cshogi's 32-bit moves."""


@pytest.fixture(scope="module")
def legal(selfplay_rows: npt.NDArray[np.uint8]) -> LegalMoves:
    board = cshogi.Board()
    moves: list[int] = []
    counts, turns = [], []
    for code in selfplay_rows[:, :32]:
        board.set_hcp(code)
        before = len(moves)
        moves.extend(board.legal_moves)
        counts.append(len(moves) - before)
        turns.append(board.turn)
    return LegalMoves(
        np.repeat(np.arange(len(counts)), counts),
        np.repeat(turns, counts),
        np.array(moves, dtype=np.int64),
    )


def distinct(legal: LegalMoves) -> list[tuple[str, int, int]]:
    """List each (USI, turn, move16) that occurs; a label depends on no more."""
    move16 = legal.move & 0xFFFF
    _, first = np.unique(move16 * 2 + legal.turn, return_index=True)
    return [
        (
            cshogi.move_to_usi(int(legal.move[i])),
            int(legal.turn[i]),
            int(move16[i]),
        )
        for i in first
    ]


def category_of_usi(usi: str, turn: int) -> tuple[str, int]:
    """Name a move's category and destination (9 * file + rank) from its text alone."""

    def square(text: str) -> tuple[int, int]:
        file, rank = int(text[0]) - 1, ord(text[1]) - ord("a")
        return (file, rank) if turn == cshogi.BLACK else (8 - file, 8 - rank)

    to_file, to_rank = square(usi[2:4])
    destination = 9 * to_file + to_rank
    if usi[1] == "*":
        return f"drop {usi[0]}", destination
    file, rank = square(usi[:2])
    side = {1: "left", 0: "", -1: "right"}[int(np.sign(to_file - file))]
    if rank - to_rank == 2 and abs(to_file - file) == 1:
        way = f"knight-{side}"
    else:
        ahead = {1: "down", 0: "", -1: "up"}[int(np.sign(to_rank - rank))]
        way = "-".join(part for part in (ahead, side) if part)
    return ("promote " if usi.endswith("+") else "") + way, destination


def test_every_legal_move_of_every_position_has_a_label(legal: LegalMoves) -> None:
    labels = _labels(legal.move & 0xFFFF, legal.turn)
    assert legal.position[-1] + 1 >= 50_000
    assert len(labels) > 4_000_000
    assert labels.min() >= 0
    assert labels.max() < N_LABELS


def count_distinct(numbers: npt.NDArray[np.int64]) -> int:
    """Count distinct numbers (np.unique takes seconds for millions)."""
    numbers = np.sort(numbers)
    return 1 + int((numbers[1:] != numbers[:-1]).sum())


def test_labels_are_injective_on_the_legal_moves_of_a_position(
    legal: LegalMoves,
) -> None:
    """No two moves of one position share a label: the scheme merges none of them.

    cshogi leaves out a pawn's, bishop's or rook's refusal to promote; those moves are
    legal too and are added here.
    """
    move16 = legal.move & 0xFFFF
    promotes = (move16 >> 14 & 1) == 1
    position = np.concatenate([legal.position, legal.position[promotes]])
    turn = np.concatenate([legal.turn, legal.turn[promotes]])
    move16 = np.concatenate([move16, move16[promotes] & ~(1 << 14)])
    labels = _labels(move16, turn)
    named = labels >= 0  # a knight must promote on the last two ranks
    moves = count_distinct(position[named] << 16 | move16[named])
    assert moves > 4_000_000
    assert moves == count_distinct(position[named] << 11 | labels[named])


def test_labels_merge_the_same_way_of_arriving_across_positions() -> None:
    """By design a label has no origin: a rook's long and short way up are one."""
    short = move_label(40 | 41 << 7, cshogi.BLACK)  # 5f5e
    assert short == move_label(40 | 44 << 7, cshogi.BLACK)  # 5i5e
    assert short != move_label(40 | 39 << 7, cshogi.BLACK)  # 5d5e


def test_labels_are_those_of_the_specifications_table(legal: LegalMoves) -> None:
    """Category from the move's USI text; place in it by rising square."""
    names = list(FIRST)
    seen: dict[str, dict[int, int]] = {name: {} for name in names}
    for usi, turn, move16 in distinct(legal):
        category, destination = category_of_usi(usi, turn)
        label = move_label(move16, turn)
        after = FIRST[names[names.index(category) + 1]]
        assert FIRST[category] <= label < after, usi
        assert seen[category].setdefault(destination, label) == label, usi
    for category, labels in seen.items():
        in_square_order = [labels[square] for square in sorted(labels)]
        assert in_square_order == sorted(in_square_order), category
    covered = sum(len(labels) for labels in seen.values())
    assert covered > 1400, "too few labels occur to prove anything"


def rsshogi_label(number: int, square: int) -> int:
    """Translate our class and square to rsshogi's label of 27 x 81."""
    if number >= 20:
        number = 20 + RSSHOGI_DROPS.index(OUR_DROPS[number - 20])
    return 81 * number + square


def test_labels_of_legal_moves_translate_to_rsshogis(legal: LegalMoves) -> None:
    colors = (rsshogi.types.Color.BLACK, rsshogi.types.Color.WHITE)
    moves = distinct(legal)
    assert len(moves) > 5_000
    for usi, turn, move16 in moves:
        label = move_label(move16, turn)
        expected = rsshogi.policy.move_label(usi, colors[turn])
        assert (
            rsshogi_label(int(LABEL_CLASS[label]), int(LABEL_SQUARE[label])) == expected
        ), usi


def test_our_labels_are_rsshogis_possible_labels_one_to_one() -> None:
    ours = [
        rsshogi_label(int(number), int(square))
        for number, square in zip(LABEL_CLASS, LABEL_SQUARE, strict=True)
    ]
    possible = [
        label
        for label in range(rsshogi.policy.MOVE_LABEL_COUNT)
        if rsshogi.policy.is_structurally_valid_move_label(label)
    ]
    assert sorted(ours) == possible
    assert len(possible) == rsshogi.policy.COMPACT_MOVE_LABEL_COUNT == N_LABELS
    before_gold = FIRST["drop G"]
    compact = [rsshogi.policy.move_label_to_compact(label) for label in ours]
    assert compact[:before_gold] == list(range(before_gold))


def test_every_possible_move_translates_not_only_those_that_occurred() -> None:
    """The whole table, as USI text, for both colours."""
    squares = [f"{file}{rank}" for file in range(1, 10) for rank in "abcdefghi"]
    kinds = "PLNSBRG"  # the order of a move16's drop origins
    compared = 0
    for origin, destination, promotes in np.argwhere(MOVE_LABEL >= 0).tolist():
        label = int(MOVE_LABEL[origin, destination, promotes])
        expected = rsshogi_label(int(LABEL_CLASS[label]), int(LABEL_SQUARE[label]))
        for color in (rsshogi.types.Color.BLACK, rsshogi.types.Color.WHITE):
            white = color == rsshogi.types.Color.WHITE
            to = squares[80 - destination if white else destination]
            if origin >= 81:
                usi = f"{kinds[origin - 81]}*{to}"
            else:
                start = squares[80 - origin if white else origin]
                usi = f"{start}{to}{'+' if promotes else ''}"
            assert rsshogi.policy.move_label(usi, color) == expected, usi
            compared += 1
    assert compared > 5_000


def test_best_moves_are_legal_and_get_their_own_label(
    selfplay_rows: npt.NDArray[np.uint8], legal: LegalMoves
) -> None:
    samples = decode_samples(selfplay_rows)
    assert not samples.status_B.any()
    best = selfplay_rows[:, 34].astype(np.int64) | (
        selfplay_rows[:, 35].astype(np.int64) << 8
    )
    chosen = (legal.move & 0xFFFF) == best[legal.position]
    assert np.array_equal(legal.position[chosen], np.arange(len(best)))
    labels = _labels(legal.move[chosen] & 0xFFFF, legal.turn[chosen])
    np.testing.assert_array_equal(samples.label_B, labels)


def test_label_squares_point_at_the_piece_on_the_board_after_the_move(
    selfplay_rows: npt.NDArray[np.uint8],
) -> None:
    """Play best moves in cshogi; the moved piece lies where the label says."""
    board = cshogi.Board()
    samples = decode_samples(selfplay_rows[:2000])
    for number, row in enumerate(selfplay_rows[:2000]):
        board.set_hcp(row[:32])
        turn = board.turn
        board.push(board.move_from_move16(int(row[34]) | int(row[35]) << 8))
        at = int(LABEL_BOARD_INDEX[samples.label_B[number]])
        rank, file = divmod(at if turn == cshogi.BLACK else 80 - at, 9)
        piece = board.piece(9 * file + rank)
        assert piece != cshogi.NONE
        assert (piece >= 16) == (turn == cshogi.WHITE)


def test_mirrored_legal_moves_have_mirrored_labels(legal: LegalMoves) -> None:
    def mirrored(square: Any) -> Any:
        return 9 * (8 - square // 9) + square % 9

    move16 = legal.move & 0xFFFF
    to, origin = move16 & 127, move16 >> 7 & 127
    origin = np.where(origin < 81, mirrored(origin), origin)
    twins = mirrored(to) | origin << 7 | (move16 & 1 << 14)
    np.testing.assert_array_equal(
        MIRROR_LABEL[_labels(move16, legal.turn)], _labels(twins, legal.turn)
    )
