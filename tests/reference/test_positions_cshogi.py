"""Position codes against cshogi, on every one of 55,437 real positions."""

import re
from typing import Any, NamedTuple

import cshogi
import numpy as np
import numpy.typing as npt
import pytest

from maou.shogi.hcp import decode_hcp, encode_hcp
from maou.shogi.samples import decode_samples


class Truth(NamedTuple):
    """What cshogi says about the positions, in its own numbers and black's view."""

    turn: npt.NDArray[np.int64]
    pieces: npt.NDArray[np.int64]
    hands: npt.NDArray[np.int64]
    sfens: list[str]


@pytest.fixture(scope="module")
def truth(selfplay_rows: npt.NDArray[np.uint8]) -> Truth:
    board = cshogi.Board()
    turn, pieces, hands, sfens = [], [], [], []
    for code in selfplay_rows[:, :32]:
        board.set_hcp(code)
        turn.append(board.turn)
        pieces.append(board.pieces)
        hands.append(board.pieces_in_hand)
        sfens.append(board.sfen())
    return Truth(np.array(turn), np.array(pieces), np.array(hands), sfens)


def our_ids() -> npt.NDArray[np.int64]:
    """Map cshogi's pieces to ours for black to move, written out by hand."""
    black = {
        cshogi.BPAWN: 1,
        cshogi.BLANCE: 2,
        cshogi.BKNIGHT: 3,
        cshogi.BSILVER: 4,
        cshogi.BGOLD: 5,
        cshogi.BBISHOP: 6,
        cshogi.BROOK: 7,
        cshogi.BKING: 8,
        cshogi.BPROM_PAWN: 9,
        cshogi.BPROM_LANCE: 10,
        cshogi.BPROM_KNIGHT: 11,
        cshogi.BPROM_SILVER: 12,
        cshogi.BPROM_BISHOP: 13,
        cshogi.BPROM_ROOK: 14,
    }
    ids = np.zeros(32, dtype=np.int64)
    for piece, number in black.items():
        ids[piece] = number
        ids[piece + 16] = number + 14
    return ids


def seen_from_mover(truth: Truth) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Rotate white's positions and order the hands own first."""
    boards = our_ids()[truth.pieces].reshape(-1, 9, 9).transpose(0, 2, 1)  # rank, file
    hands = truth.hands
    white = truth.turn == cshogi.WHITE
    rotated = boards[white][:, ::-1, ::-1]
    boards = boards.copy()
    boards[white] = np.where(
        rotated > 14, rotated - 14, np.where(rotated > 0, rotated + 14, 0)
    )
    hands = np.where(white[:, None, None], hands[:, ::-1], hands)
    return boards.reshape(-1, 81), hands.reshape(-1, 14)


def rotated_sfen(sfen: str) -> str:
    """Rotate by 180 degrees and exchange the colours.

    cshogi 1.1.0 has `rotate_sfen`, but it turns ten pawns in hand into one.
    """
    board, turn, hands, ply = sfen.split(" ")
    squares = re.findall(r"\d|/|\+?[A-Za-z]", board)
    rotated = "".join(reversed(squares)).swapcase()
    return " ".join([rotated, "b" if turn == "w" else "w", hands.swapcase(), ply])


@pytest.mark.parametrize("threads", [1, 3])
def test_pieces_and_hands_of_every_position(
    selfplay_rows: npt.NDArray[np.uint8], truth: Truth, threads: int
) -> None:
    assert len(selfplay_rows) >= 50_000
    boards, hands, status = decode_hcp(selfplay_rows, threads)
    expected_boards, expected_hands = seen_from_mover(truth)
    assert not status.any()
    np.testing.assert_array_equal(boards, expected_boards)
    np.testing.assert_array_equal(hands, expected_hands)


def test_the_positions_exercise_every_piece_in_both_views(truth: Truth) -> None:
    """Else the comparison above would prove less than it seems to."""
    boards, hands = seen_from_mover(truth)
    for turn in (cshogi.BLACK, cshogi.WHITE):
        assert set(np.unique(boards[truth.turn == turn])) == set(range(29))
        assert (hands[truth.turn == turn].max(axis=0) >= 1).all()


def test_codes_round_trip_through_our_encoder(
    selfplay_rows: npt.NDArray[np.uint8], truth: Truth
) -> None:
    """Black's positions give their own bytes; white's those of the rotated position.

    It is rotated as text and coded by cshogi, a route that shares nothing with ours.
    """
    boards, hands, _ = decode_hcp(selfplay_rows)
    codes, status = encode_hcp(boards, hands)
    assert not status.any()
    black = truth.turn == cshogi.BLACK
    np.testing.assert_array_equal(codes[black], selfplay_rows[black, :32])

    board = cshogi.Board()
    code = np.zeros(1, dtype=cshogi.HuffmanCodedPos)
    expected = np.empty_like(codes)
    white = np.flatnonzero(~black)
    for row in white:
        board.set_sfen(rotated_sfen(truth.sfens[row]))
        board.to_hcp(code)
        expected[row] = code["hcp"][0]
    assert len(white) > 20_000
    np.testing.assert_array_equal(codes[white], expected[white])


def test_values_are_the_result_for_the_side_to_move(
    selfplay_rows: npt.NDArray[np.uint8], truth: Truth
) -> None:
    values = decode_samples(selfplay_rows).value_B
    results = selfplay_rows[:, 36]
    assert set(np.unique(results)) == {0, 1, 2}
    winner_moves = np.where(truth.turn == cshogi.BLACK, results == 1, results == 2)
    expected = np.where(results == 0, 0.5, winner_moves.astype(np.float64))
    np.testing.assert_array_equal(values, expected)
