"""Squares, and the two orders in which the field numbers them.

A *square* is the flat index of moves and position codes, `9 * (file - 1) + (rank - 1)`:
1a is 0, 1b is 1, 9i is 80. A *board index* is row-major with one row a rank,
`9 * (rank - 1) + (file - 1)`, the layout of every board array. Rotating the board by
180 degrees sends either index `i` to `80 - i`.
"""

import numpy as np

N_SQUARES = 81

FILE = np.arange(N_SQUARES) // 9
"""File of each square, 0 for file 1 (black's rightmost) to 8 for file 9."""

RANK = np.arange(N_SQUARES) % 9
"""Rank of each square, 0 for rank a (white's first) to 8 for rank i."""

BOARD_INDEX = 9 * RANK + FILE
"""Board index of each square. The map is its own inverse."""

MIRROR_SQUARE = 9 * (8 - FILE) + RANK
"""Square after a left-right mirror (files 1..9 become 9..1)."""

MIRROR_BOARD = BOARD_INDEX[MIRROR_SQUARE][BOARD_INDEX]
"""Board index after a left-right mirror."""


def square_name(square: int) -> str:
    """Name a square as USI does: `square_name(0)` is `1a`."""
    return f"{FILE[square] + 1}{'abcdefghi'[RANK[square]]}"
