"""Square numbers, board indices and their symmetries."""

import numpy as np

from maou.shogi.squares import (
    BOARD_INDEX,
    MIRROR_BOARD,
    MIRROR_SQUARE,
    square_name,
)


def test_square_names_follow_the_flat_index() -> None:
    names = [f"{file}{rank}" for file in range(1, 10) for rank in "abcdefghi"]
    assert [square_name(square) for square in range(81)] == names


def test_board_index_is_row_major_by_rank() -> None:
    assert BOARD_INDEX[0] == 0  # 1a
    assert BOARD_INDEX[1] == 9  # 1b: next rank
    assert BOARD_INDEX[9] == 1  # 2a: next file
    assert (BOARD_INDEX[BOARD_INDEX] == np.arange(81)).all()
    assert (BOARD_INDEX[80 - np.arange(81)] == 80 - BOARD_INDEX).all()


def test_mirrors_exchange_files_and_keep_ranks() -> None:
    for square in range(81):
        name, twin = square_name(square), square_name(int(MIRROR_SQUARE[square]))
        assert (10 - int(name[0]), name[1]) == (int(twin[0]), twin[1])
    assert (MIRROR_BOARD[BOARD_INDEX] == BOARD_INDEX[MIRROR_SQUARE]).all()
    assert (MIRROR_BOARD[MIRROR_BOARD] == np.arange(81)).all()
